package remote

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestOfAStreamHeadAndTailAreKept(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, keptHead, keptHead + 1, keptHead + keptTail, keptHead + keptTail + 1, 3*keptTail + 17, 1 << 20} {
		all := make([]byte, size)
		for i := range all {
			all[i] = byte('a' + i%23)
		}
		for _, step := range []int{1, 1000, keptTail + 5, size + 1} {
			if step == 1 && size > 1<<17 {
				continue
			}
			var h headTail
			for p := all; len(p) > 0; p = p[min(step, len(p)):] {
				h.write(p[:min(step, len(p))])
			}
			want := string(all)
			if size > keptHead+keptTail {
				want = want[:keptHead] + omitted + want[size-keptTail:]
			}
			if got := string(h.bytes()); got != want {
				t.Fatalf("%d bytes by %d: got %d bytes, want %d", size, step, len(got), len(want))
			}
			if cap(h.head)+cap(h.tail) > 2*(keptHead+keptTail) {
				t.Errorf("%d bytes by %d: %d are held", size, step, cap(h.head)+cap(h.tail))
			}
		}
	}
}

// Prompts and words of ours are found however they are cut up, and however much noise comes before them.
func TestWordsAreFoundInNoise(t *testing.T) {
	t.Parallel()
	const marker = "@@fleetctl-0123@@"
	for _, noise := range []string{"", "motd\n", "no newline", strings.Repeat("x", 3*maxLine+5), strings.Repeat("line\n", 5000), marker} {
		text := noise + marker + " ASKS\nfailed: because\n" + marker + " READY\nthe script's own"
		for _, cut := range []bool{false, true} {
			s := &stderrSink{
				listener: &listener{marker: marker}, limit: 1 << 20, over: func() { t.Error("over") }, noise: func() { t.Error("noise") },
			}
			var r interface{ Read([]byte) (int, error) } = strings.NewReader(text)
			if cut {
				r = iotest.OneByteReader(r)
			}
			buf := make([]byte, 1000)
			for n, err := r.Read(buf); err == nil; n, err = r.Read(buf) {
				if _, err := s.Write(buf[:n]); err != nil {
					t.Fatal(err)
				}
			}
			if got := string(s.bytes()); got != "the script's own" {
				t.Errorf("%.20q, cut %v: got %q", noise, cut, got)
			}
		}
	}
}

// A host that takes nothing of what we send is not listened to for long: what it makes us answer would fill our queues.
func TestAHostThatReadsNothingIsNotListenedTo(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	g := guard(ours)
	g.admitted()
	wrote := make(chan error, 1)
	go func() {
		_, err := g.Write(make([]byte, 1000)) // a pipe takes nothing before it is read
		wrote <- err
	}()
	time.Sleep(2 * stuckAfter)
	go func() {
		for {
			if _, err := theirs.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
				return
			}
		}
	}()
	read := make(chan int, 1<<10)
	go func() {
		defer close(read)
		buf := make([]byte, 32<<10)
		for {
			n, err := g.Read(buf)
			if err != nil {
				return
			}
			read <- n
		}
	}()
	total := func(quiet time.Duration) (sum int) {
		for {
			select {
			case n := <-read:
				sum += n
			case <-time.After(quiet):
				return sum
			}
		}
	}
	if sum := total(time.Second); sum < maxWhileStuck || sum > maxWhileStuck+paceRead {
		t.Errorf("%d bytes were read while a write was stuck", sum)
	}
	if _, err := theirs.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if n := <-read; n == 0 {
		t.Error("nothing is read any more once the host reads")
	}
	_ = g.Close()
	for range read {
	}
}

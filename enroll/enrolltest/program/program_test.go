package program

import (
	"os/exec"
	"testing"
)

// What the test itself holds does not count.
func TestThePeakIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	mine := make([]byte, 200<<20)
	for i := 0; i < len(mine); i += 4096 {
		mine[i] = 1
	}
	peak, err := Run(exec.Command("sleep", "0.3"))
	if err != nil {
		t.Fatal(err)
	}
	if peak < 100<<10 || peak > 50<<20 {
		t.Errorf("sleep held %d KiB", peak>>10)
	}
	large, err := Run(exec.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=20"))
	if err != nil {
		t.Fatal(err)
	}
	if large < 96<<20 {
		t.Errorf("dd held %d KiB of a block of 96 MiB", large>>10)
	}
	if mine[0] != 1 {
		t.Error("kept until here")
	}
}

func TestWhatIsNoProgram(t *testing.T) {
	t.Parallel()
	if _, err := Run(exec.Command("/nowhere/program")); err == nil {
		t.Error("no error")
	}
	if _, err := Run(exec.Command("false")); err == nil {
		t.Error("false has no error")
	}
}

package tctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"fleetctl/remote"
)

// maxInstance bounds one bot_instance: with its 10 authentications and 10 heartbeats it has 21 to 24 KB.
const maxInstance = 1 << 20

var errLargeInstance = fmt.Errorf("a bot_instance has more than %d bytes", maxInstance)

// instance is what is read of a bot_instance resource (Teleport 16.4.6 and later): bot_instance.proto@09690ede.
type instance struct {
	Spec struct {
		BotName    string `json:"bot_name"`
		InstanceID string `json:"instance_id"`
	} `json:"spec"`
	Status struct {
		Initial   *authentication  `json:"initial_authentication"`
		Latest    []authentication `json:"latest_authentications"`
		FirstBeat *heartbeat       `json:"initial_heartbeat"`
		Beats     []heartbeat      `json:"latest_heartbeats"`
		Services  []serviceHealth  `json:"service_health"` // 18.4.0 and later
	} `json:"status"`
}

type authentication struct {
	At     stamp  `json:"authenticated_at"`
	Method string `json:"join_method"`
	Token  string `json:"join_token"`
	Attrs  struct {
		TPM struct {
			Hash string `json:"ek_pub_hash"`
		} `json:"tpm"`
	} `json:"join_attrs"` // 17.2.0 and later
	Metadata json.RawMessage `json:"metadata"` // before it
}

// heartbeat is what a tbot says of itself: nothing of it is proven.
type heartbeat struct {
	At       stamp  `json:"recorded_at"`
	Version  string `json:"version"`
	Hostname string `json:"hostname"`
}

type serviceHealth struct {
	Service struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"service"`
	Status healthWord `json:"status"`
	Reason string     `json:"reason"`
}

// stamp is a time as RFC 3339 (17.5.1 and later) or as {"seconds": 1, "nanos": 2}. A time that no calendar has is the
// zero one: a heartbeat's is the host's own word, and one host must not keep the others from being read.
type stamp struct{ time.Time }

// Years 1 to 9999, as google.protobuf.Timestamp has them.
const minSeconds, maxSeconds = -62135596800, 253402300799

// UnmarshalJSON reads either form.
func (s *stamp) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '{' {
		if s.Time.UnmarshalJSON(raw) != nil || s.Unix() < minSeconds || s.Unix() > maxSeconds { // an offset can lead out of all years
			s.Time = time.Time{}
		}
		return nil
	}
	var parts struct {
		Seconds json.Number `json:"seconds"`
		Nanos   int64       `json:"nanos"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil //nolint:nilerr // see above
	}
	seconds, err := parts.Seconds.Int64()
	if err == nil && seconds >= minSeconds && seconds <= maxSeconds && parts.Nanos >= 0 && parts.Nanos < int64(time.Second) {
		s.Time = time.Unix(seconds, parts.Nanos).UTC()
	}
	return nil
}

// healthWord is a service's health in tbot's words: "healthy", "unhealthy", "initializing"; "" for what is none.
type healthWord string

// UnmarshalJSON reads a value of the enum BotInstanceHealthStatus.
func (h *healthWord) UnmarshalJSON(raw []byte) error {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		word, _ := strings.CutPrefix(name, "BOT_INSTANCE_HEALTH_STATUS_")
		*h = healthWord(remote.Cut(strings.ToLower(word), 40))
	}
	return nil
}

// hash is the EKPub hash of a TPM that authenticated: lower-case hex; "" for none.
func (a authentication) hash() string {
	if a.Attrs.TPM.Hash != "" || a.Method != "tpm" {
		return strings.ToLower(a.Attrs.TPM.Hash)
	}
	return metadataHash(a.Metadata)
}

// metadataHash looks for the hash in what clusters kept before join_attrs: a structure without a scheme, whose contents
// nobody has written down. Only what can be nothing else counts: 64 hex digits under the name that the hash has
// everywhere else, plain or in the forms that protobuf's Struct takes.
func metadataHash(raw json.RawMessage) string {
	var doc struct {
		Plain  json.RawMessage            `json:"ek_pub_hash"`
		Fields map[string]json.RawMessage `json:"fields"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return ""
	}
	value := doc.Plain
	if value == nil {
		value = doc.Fields["ek_pub_hash"]
	}
	var plain string
	var wrapped struct {
		Kind struct {
			StringValue string
		}
		StringValue string `json:"string_value"`
		Camel       string `json:"stringValue"`
	}
	if json.Unmarshal(value, &plain) != nil && json.Unmarshal(value, &wrapped) == nil {
		plain = wrapped.Kind.StringValue + wrapped.StringValue + wrapped.Camel
	}
	if !isHash(plain) {
		return ""
	}
	return strings.ToLower(plain)
}

// isHash says whether a text is a SHA-256 in hex.
func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// beat is the latest heartbeat; the zero one for none.
func (i *instance) beat() heartbeat {
	var last heartbeat
	if i.Status.FirstBeat != nil {
		last = *i.Status.FirstBeat
	}
	for _, b := range i.Status.Beats { // the newest is the last one
		if !b.At.Before(last.At.Time) {
			last = b
		}
	}
	return last
}

// eachInstance asks for the instances of a bot ("": of all) and hands them on while tctl still prints: there may be
// gigabytes.
func (t Tctl) eachInstance(ctx context.Context, bot string, do func(*instance)) error {
	what := "bot_instance"
	if bot != "" {
		what += "/" + bot
	}
	var stdin io.Reader
	if t.prompts() {
		stdin = t.Stdin
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in.CloseWithError(t.stream(ctx, stdin, in, "get", what, "--format=json")) // nil: the end of the output
	}()
	err := decodeInstances(out, do)
	if err == nil {
		_, err = io.Copy(io.Discard, out) // to its end: it may fail yet
	} else {
		cancel()
	}
	out.CloseWithError(io.ErrClosedPipe)
	<-ended
	if err == nil || isRunFailure(err) {
		return err
	}
	return fmt.Errorf("tctl get %s: %w", what, err)
}

// isRunFailure says whether an error names the run of tctl already.
func isRunFailure(err error) bool {
	e := (*runError)(nil)
	return errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// decodeInstances reads an array of instances or one behind the other, one at a time.
func decodeInstances(r io.Reader, do func(*instance)) error {
	limit := &allowance{r: r, left: maxInstance}
	in := bufio.NewReader(limit)
	array, err := startsArray(in)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(in)
	if array {
		if _, err := dec.Token(); err != nil {
			return err
		}
	}
	for !array || dec.More() {
		var i instance
		if err := dec.Decode(&i); !array && errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		limit.left = maxInstance
		do(&i)
	}
	if _, err := dec.Token(); errors.Is(err, io.EOF) { // the end of the array, or why there is none
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	return nil
}

// startsArray looks at the first byte that is no blank, and leaves it there.
func startsArray(in *bufio.Reader) (bool, error) {
	for {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case !strings.ContainsRune(" \t\r\n", rune(b)):
			return b == '[', in.UnreadByte()
		}
	}
}

// allowance is a reader that fails when more was read than an instance may have.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errLargeInstance
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

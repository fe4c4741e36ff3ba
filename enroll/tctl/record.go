package tctl

import (
	"context"
	"errors"
	"strings"

	"fleetctl/enroll/child"
)

// Recording is what one run of tctl printed, byte for byte.
type Recording struct {
	Args           []string
	Stdout, Stderr []byte // the first 1 MiB, the last 64 KiB
	Err            error  // how it ended; nil: well
}

// recordedOutput is how much of standard output a Recording has at most.
const recordedOutput = 1 << 20

// Record runs tctl and keeps what it printed, well or not, for people who look into how it speaks.
func (t Tctl) Record(ctx context.Context, args ...string) Recording {
	out, said := &child.Head{Max: recordedOutput}, &child.Tail{Max: maxWords}
	ctx, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	err := t.runner().Run(ctx, strings.NewReader(""), out, said, args...)
	return Recording{Args: args, Stdout: out.Bytes(), Stderr: []byte(said.String()), Err: errors.Join(err, ctx.Err())}
}

package work

import "context"

// Doing is what is being done about a host, as a person reads it beside the host's name.
type Doing string

// What is being done about a host.
const (
	Connecting Doing = "connecting"
	Looking    Doing = "looking at it"
	Asking     Doing = "asking its TPM"
	Changing   Doing = "changing it"
	Hooking    Doing = "running its hook"
	Joining    Doing = "waiting for its join"
)

// Pace is how far a rollout has come, and what it may still lose.
type Pace struct {
	Canaries, Proven int // how many have to do well first, and how many have; Canaries is 0 once the batches have begun
	Batch, Batches   int // which batch is the latest that has begun, from 1 on; 0: none has
	Failed, Budget   int // hosts that failed, and how many may
}

// hearer is the key of who hears what is being done, in the context of one host.
type hearer struct{}

// Telling returns the context of a host that is begun now: At tells OnDoing of it.
func (r Run) Telling(ctx context.Context, host string) context.Context {
	if r.OnDoing == nil {
		return ctx
	}
	return context.WithValue(ctx, hearer{}, func(what Doing) { r.OnDoing(host, what) })
}

// At says what is done from now on about the host of the context.
func At(ctx context.Context, what Doing) {
	if hear, ok := ctx.Value(hearer{}).(func(Doing)); ok {
		hear(what)
	}
}

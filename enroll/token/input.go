package token

import (
	"cmp"
	"fmt"
	"runtime"
	"sync"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// Input is everything that tokens depend on.
type Input struct {
	Records   []store.Record        // those with an accepted identity
	Policy    config.Token          // names, limits, what hosts without a certificate get
	Bot       config.Bot            // the bot of fleet.yaml
	BotOf     map[string]config.Bot // by host, for hosts of the inventory
	Machines  config.Machines       // which names are one machine
	Earlier   []store.Token         // tokens that were made before
	CAs       *tpm.CASet            // nil: EK hashes alone
	Rebalance bool
	Now       time.Time
	Undated   bool // dates of certificates are not judged

	Fleet     string                   // whose tokens these are: the label fleetctl.dev/fleet
	Epoch     int64                    // the highest that a token was given
	EKs       map[string]store.Machine // by EK hash
	Ways      map[string][]store.Way   // by EK hash: the tokens that a machine may be configured with
	Only      map[string]bool          // hosts whose rules may change; nil: all. The others keep what they have
	Published []store.Rule             // what was written into tokens before
	Contract  map[string]bool          // EK hashes whose machines have another token no more, by a person's word
}

// out says whether a person took an EK out.
func (in Input) out(ek string) bool { return in.EKs[ek].Out() }

// candidate is a machine on its way to a rule.
type candidate struct {
	host   string
	names  []string // all of its names, with host
	rec    store.Record
	bot    string
	issuer string // PEM of the CA that issued its certificate; "": hash-only
	rule   Rule
}

// tokenPlanner makes tokens of an input, step by step.
type planner struct {
	in    Input
	bots  map[string]config.Bot
	kinds map[string]store.Token // earlier tokens by name
	set   *Set

	hosts    map[string]string         // EK hash → the first host by name
	written  map[string][]store.Rule   // EK hash → rules that were written before
	frozen   map[string]bool           // EK hashes of machines whose rules may not change
	waitIn   map[string]map[string]int // see waiting
	disputed map[string]bool           // EK hashes that several machines present
}

func (in Input) maxRules() int { return cmp.Or(in.Policy.MaxRules, config.DefaultRules) }

func (in Input) maxBytes() int { return cmp.Or(in.Policy.MaxBytes, config.DefaultBytes) }

func (in Input) kind() string { return cmp.Or(in.Policy.Kind, KindBot) }

func (p *planner) refuse(host string, code outcome.Code, format string, args ...any) {
	p.set.Refused = append(p.set.Refused, Refusal{Host: host, Reason: outcome.Because(code, fmt.Sprintf(format, args...))})
}

// parallel runs fn for 0 to n-1 on all processors.
func parallel(n int, fn func(i int)) {
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				fn(i)
			}
		})
	}
	wg.Wait()
}

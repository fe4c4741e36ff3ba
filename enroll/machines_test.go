package enroll

import (
	"errors"
	"slices"
	"testing"

	"fleetctl/enroll/outcome"
)

func TestNamesOfOneMachineAreOneMachineInEveryRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		same   map[string]any // fleetctl_same_as, by host
		scan   string
		tokens map[string]string
		rule   string // the description of the rule; "" for none
	}{
		{"names in a circle are one machine", map[string]any{"web-01": "web-02", "web-02": "web-01"},
			"web-01 ok, web-02 ok", map[string]string{"web-01": "fleet", "web-02": "fleet"}, "web-01"},
		{"another name is the same machine", map[string]any{"web-01": "web-02"},
			"web-01 ok, web-02 ok", map[string]string{"web-01": "fleet", "web-02": "fleet"}, "web-02"},
		{"no name on both of them: two machines", map[string]any{"web-01": "", "web-02": ""},
			"web-01 failed duplicate-ek, web-02 failed duplicate-ek", map[string]string{"web-01": "", "web-02": ""}, ""},
		{"a name of somebody else: two machines", map[string]any{"web-01": "web-03"},
			"web-01 failed duplicate-ek, web-02 failed duplicate-ek", map[string]string{"web-01": "", "web-02": ""}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 3)
			l.host["web-02"].TPM = newTPM(t, 1)
			for host, name := range tt.same {
				l.set(host, "fleetctl_same_as", name)
			}
			one := tt.rule != ""
			scanned, err := l.scan()
			l.check("scan", scanned.Results, err, tt.scan+", web-03 ok", map[bool]error{false: outcome.ErrHostsFailed}[one])
			if got := l.machines().Same([]string{"web-01", "web-02"}); got != one {
				t.Errorf("one machine: %v", got)
			}
			for _, name := range []string{"web-01", "web-02"} {
				if id := l.record(name).Accepted; id == nil || id.EKHash != l.host["web-01"].TPM.EKHash() {
					t.Errorf("record of %s: %+v", name, id)
				}
			}
			made, err := l.tokens(TokensOptions{Apply: true})
			if errors.Is(err, outcome.ErrHostsFailed) == one || (len(made.Set.Refused) == 0) != one {
				t.Errorf("tokens: %v, refused %+v", err, made.Set.Refused)
			}
			var rules []string
			for _, tok := range made.Set.Tokens {
				for _, r := range tok.Rules {
					rules = append(rules, r.Description)
				}
			}
			want := []string{"web-03"}
			if one {
				want = []string{tt.rule, "web-03"}
			}
			if !slices.Equal(rules, want) || len(l.cluster.Rules("fleet")) != len(want) {
				t.Errorf("rules %q, in the cluster %q", rules, l.cluster.Rules("fleet"))
			}
			for host, token := range tt.tokens {
				if made.Set.TokenOf(host) != token || l.recordedToken(t.Context(), host) != token {
					t.Errorf("%s joins with %q, by the records with %q", host, made.Set.TokenOf(host), l.recordedToken(t.Context(), host))
				}
			}
		})
	}
}

package token

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"fleetctl/enroll/store"
	"fleetctl/remote"
)

// errUnreadableToken quotes nothing: names of tokens of other join methods let people in.
var errUnreadableToken = errors.New("a token of the cluster cannot be read")

// Found is a token of ours as the cluster has it.
type Found struct {
	Name  string
	Kind  string
	Bot   string
	CAs   []string // PEM, as the server checks EK certificates
	Ours  bool     // it has our mark; else it is only called as ours are
	Epoch int64    // of its content; 0: it has no mark
	Write string
	Rules []store.Rule // those with an EK hash; the host is the rule's description
}

// Whose says which tokens are a fleet's.
type Whose struct {
	Fleet string   // its mark
	Names []string // of tokens; their shards are meant, too
	Bots  []string // that hosts may join as
}

// FindIn picks a fleet's tokens out of all tokens of a cluster, by name. A token with the mark of another fleet is not ours,
// whatever its name; one without a mark is when its name, its join method and its bot are.
func FindIn(all []json.RawMessage, w Whose) ([]Found, error) {
	var found []Found
	for _, raw := range all {
		var head struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec struct {
				JoinMethod string `json:"join_method"`
			} `json:"spec"`
		}
		if json.Unmarshal(raw, &head) != nil {
			return nil, errUnreadableToken
		}
		if head.Spec.JoinMethod != joinMethodTPM {
			continue // its name is a secret, and its fields are others
		}
		t, err := parseClusterToken(raw)
		if err != nil {
			return nil, errUnreadableToken
		}
		f := Found{Name: head.Metadata.Name, Kind: t.kind(), Bot: t.bot, CAs: t.cas, Ours: t.stamp.fleet == w.Fleet && w.Fleet != ""}
		if !f.Ours && (t.stamp.fleet != "" || !w.named(f)) {
			continue
		}
		if f.Ours {
			f.Epoch, f.Write = t.stamp.epoch, t.stamp.write
		}
		f.Rules = foundRules(f.Name, t.rules)
		found = append(found, f)
	}
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// named says whether a token is called as ours are, and lets its hosts join as ours do.
func (w Whose) named(f Found) bool {
	if f.Kind == KindBot && !slices.Contains(w.Bots, f.Bot) {
		return false
	}
	return slices.ContainsFunc(w.Names, func(base string) bool { return base != "" && shardNumber(base, f.Name) > 0 })
}

func foundRules(name string, rules []allowRule) []store.Rule {
	var out []store.Rule
	for _, r := range rules {
		ek := strings.ToLower(string(r.EKPublicHash))
		if !store.ValidEKHash(ek) {
			continue // nobody knows which machine a serial is
		}
		out = append(out, store.Rule{
			Token: name, EKHash: ek, EKSerial: remote.Clean(string(r.EKCertificateSerial)), Host: remote.Clean(string(r.Description)),
		})
	}
	return out
}

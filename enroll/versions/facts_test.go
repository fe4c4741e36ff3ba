package versions

import (
	"os"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// notInFacts are capabilities that the machine-readable facts have no path for.
var notInFacts = []Capability{TPMJoin, RefusesOldClients, LongTTL, IdentityAllowReissue}

// notNeeded are facts with ranges of which fleetctl needs nothing.
var notNeeded = []string{
	"tbot.start.subcommands.legacy", "tbot.start.subcommands.ssh-multiplexer", "tbot.start.subcommands.no-op", "tbot.copy-binaries",
	"config.service_roles.refused_from", // a test of its own
}

// vaguer are capabilities of which the table says that they may have come earlier than the inferred version of the facts.
var vaguer = []Capability{
	TypeCapability("workload-identity-x509"), TypeCapability("workload-identity-jwt"), TypeCapability("workload-identity-api"),
}

// fact is what the facts say of one path.
type fact struct {
	ranges     []factRange
	note       string
	startsOnly bool // it says where lines begin to have it, and not how long
}

type factRange struct {
	From, To, End string
	How           How
}

func readFacts(t *testing.T) *yaml.Node {
	t.Helper()
	raw, err := os.ReadFile("../../test/cluster/versions/versions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

// collect finds everything in the facts that has versions, by path.
func collect(t *testing.T, n *yaml.Node, path string, into map[string]fact) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		p := strings.TrimPrefix(path+"."+key, ".")
		if f, ok := factOf(t, key, value); ok && p != "read_up_to" {
			into[p] = f
		}
		collect(t, value, p, into)
	}
}

func factOf(t *testing.T, key string, n *yaml.Node) (fact, bool) {
	var list []string
	switch {
	case n.Kind == yaml.MappingNode:
		return factOfMapping(t, n)
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && isVersion(n.Content[0].Value):
		decode(t, n, &list)
	case n.Kind == yaml.ScalarNode && strings.HasSuffix(key, "_from") && isVersion(n.Value):
		list = []string{n.Value}
	default:
		return fact{}, false
	}
	f := fact{startsOnly: strings.HasSuffix(key, "_from")}
	for _, v := range list {
		f.ranges = append(f.ranges, factRange{From: v, To: v})
	}
	return f, true
}

func isVersion(s string) bool {
	_, ok := Parse(s)
	return ok
}

func factOfMapping(t *testing.T, n *yaml.Node) (fact, bool) {
	var m struct {
		Ranges   []factRange `yaml:"ranges"`
		From, To string
		How      How
		Note     string
	}
	if n.Decode(&m) != nil || len(m.Ranges) == 0 && m.From == "" {
		return fact{}, false // no facts of versions: other words of the same names
	}
	if len(m.Ranges) == 0 {
		m.Ranges = []factRange{{From: m.From, To: m.To}}
	}
	for i := range m.Ranges {
		if m.Ranges[i].How == "" {
			m.Ranges[i].How = m.How
		}
	}
	return fact{ranges: m.Ranges, note: m.Note}, true
}

func decode(t *testing.T, n *yaml.Node, to any) {
	t.Helper()
	if err := n.Decode(to); err != nil {
		t.Fatal(err)
	}
}

func TestTheTableSaysWhatTheFactsSay(t *testing.T) {
	facts := map[string]fact{}
	collect(t, readFacts(t), "", facts)
	if len(facts) < 50 {
		t.Fatalf("only %d facts were found", len(facts))
	}
	for _, e := range entries {
		f, ok := facts[string(e.Capability)]
		if ok == slices.Contains(notInFacts, e.Capability) {
			t.Errorf("%s: in the facts: %v", e.Capability, ok)
		}
		if ok {
			compare(t, e, f)
		}
	}
	for path := range facts {
		if _, ok := table[Capability(path)]; !ok && !slices.Contains(notNeeded, path) {
			t.Errorf("%s is in the facts and not in the table", path)
		}
	}
}

func compare(t *testing.T, e Entry, f fact) {
	var sure []Range
	for i, r := range e.Ranges {
		switch {
		case !r.Vague:
			sure = append(sure, r)
		case i > 0 && len(sure) <= len(f.ranges) && f.ranges[len(sure)-1].End == "unknown":
			sure[len(sure)-1].To = r.To // the facts have it as one range with an unknown end
		case i == 0 && slices.Contains(vaguer, e.Capability):
		case !strings.Contains(f.note, strings.TrimSuffix(r.To.String(), ".x")+":"):
			t.Errorf("%s: %s is vague, and the facts have no note about it", e.Capability, r)
		}
	}
	if len(sure) != len(f.ranges) {
		t.Errorf("%s: %v, and the facts have %+v", e.Capability, sure, f.ranges)
		return
	}
	for i, r := range sure {
		if want := f.ranges[i]; !sameRange(r, want, f.startsOnly) || want.How != "" && want.How != r.How {
			t.Errorf("%s: %s (%s), and the facts have %+v", e.Capability, r, r.How, want)
		}
	}
}

func sameRange(r Range, want factRange, startsOnly bool) bool {
	to := strings.Replace(want.To, ".99.99", ".x", 1)
	if startsOnly {
		return r.From.String() == want.From && (r.Open() || strings.HasSuffix(r.To.String(), ".x"))
	}
	return r.From.String() == want.From && r.To.String() == to
}

// TestTheFactsAgreeWithTheRest compares what is in the facts in another form.
func TestTheFactsAgreeWithTheRest(t *testing.T) {
	var facts struct {
		ReadUpTo map[string]string `yaml:"read_up_to"`
		Config   struct {
			ServiceRoles struct {
				RefusedFrom string `yaml:"refused_from"`
			} `yaml:"service_roles"`
			Destinations map[string]struct {
				Keys []string
			}
		}
	}
	decode(t, readFacts(t), &facts)
	for major, last := range lastRead {
		if got := facts.ReadUpTo["v"+release(major, 0, 0).text[:2]]; got != last.String() {
			t.Errorf("%d was read up to %s, and the facts have %s", major, last, got)
		}
	}
	if len(facts.ReadUpTo) != len(lastRead)+1 { // and master
		t.Errorf("the facts have %v", facts.ReadUpTo)
	}
	refused := v(t, facts.Config.ServiceRoles.RefusedFrom)
	if Has(ServiceRoles, refused) != No || Has(ServiceRoles, release(refused.major-1, 99, 99)) != Yes {
		t.Errorf("roles are refused from %s on", refused)
	}
	for typ, d := range facts.Config.Destinations {
		for _, key := range d.Keys {
			if !slices.Contains(destinationKeys[typ], key) {
				t.Errorf("destination %s has no key %s", typ, key)
			}
		}
	}
}

package inventory

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	randomCases = flag.Int("random", 25, "how many random inventories are compared with Ansible")
	randomSeed  = flag.Int64("seed", 1, "of the random inventories")
)

// generator writes random inventories out of few names, so that they collide in every way.
type generator struct {
	*rand.Rand
	strings.Builder
}

var (
	randomGroups = []string{"all", "ungrouped", "a", "b", "c", "d", "e", "h1"}
	randomHosts  = []string{"h1", "h2", "h3", "h[1:4]", "x[a:c].ex", "h2:22", "n5", "[::1]:33", "a", "h_", "10.0.0.1", "h[01:03:2]"}
	randomVars   = []string{"v", "w", "x", "ansible_port", "ansible_user"}
	randomValues = []string{
		"1", "yes", "'q'", `"d"`, "0644", "1.5", "text", "1:30", "[1, 2]", "{k: v}", "~", "2001-01-01", "1_0", "on", "1e3",
		"-1", "x,y", "1,2", "True", "None", "é", `"{{ y }}"`, "{'k': 1}", "0x1F", "1.0e+3",
	}
)

func (g *generator) pick(list []string) string { return list[g.Intn(len(list))] }

// some are up to n of the list, in any order.
func (g *generator) some(list []string, n int) []string {
	list = slices.Clone(list)
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(len(list), g.Intn(n+1))]
}

func (g *generator) ini() {
	for range g.Intn(8) + 1 {
		i := 2 + g.Intn(5)
		switch g.Intn(4) {
		case 0:
			fmt.Fprintf(g, "[%s:vars]\n", g.pick(randomGroups))
			for _, v := range g.some(randomVars, 3) {
				fmt.Fprintf(g, "%s=%s\n", v, g.pick(randomValues))
			}
			fmt.Fprintf(g, "ansible_group_priority=%d\n", g.Intn(5))
		case 1:
			fmt.Fprintf(g, "[%s:children]\n%s\n", randomGroups[i], strings.Join(g.some(randomGroups[i+1:], 2), "\n"))
		default:
			fmt.Fprintf(g, "[%s]\n", g.pick(randomGroups))
			for _, h := range g.some(randomHosts, 3) {
				g.WriteString(h)
				for _, v := range g.some(randomVars, 2) {
					fmt.Fprintf(g, " %s=%s", v, strings.ReplaceAll(g.pick(randomValues), " ", ""))
				}
				g.WriteString(" # comment\n")
			}
		}
	}
	for _, name := range randomGroups[2:] {
		fmt.Fprintf(g, "[%s]\n", name)
	}
}

func (g *generator) yaml() {
	for _, name := range g.some(randomGroups, 5) {
		fmt.Fprintf(g, "%s:\n", name)
		g.yamlGroup("  ", slices.Index(randomGroups, name))
	}
}

func (g *generator) yamlGroup(indent string, index int) {
	for _, section := range g.some([]string{"hosts", "vars", "children", "junk"}, 4) {
		fmt.Fprintf(g, "%s%s:\n", indent, section)
		switch section {
		case "hosts":
			for _, h := range g.some(randomHosts, 4) {
				fmt.Fprintf(g, "%s  %q:\n", indent, h)
				g.yamlVars(indent+"    ", 2)
			}
		case "vars":
			g.yamlVars(indent+"  ", 3)
			fmt.Fprintf(g, "%s  ansible_group_priority: %d\n", indent, g.Intn(5))
		case "children":
			below := max(index, 1)
			for _, name := range g.some(randomGroups[below+1:], 3) {
				fmt.Fprintf(g, "%s  %s:\n", indent, name)
				g.yamlGroup(indent+"    ", slices.Index(randomGroups, name))
			}
		}
	}
}

func (g *generator) yamlVars(indent string, n int) {
	for _, v := range g.some(randomVars, n) {
		fmt.Fprintf(g, "%s%s: %s\n", indent, v, g.pick(randomValues))
	}
}

// Run it with -random 1000 -seed N after a change.
func TestRandomInventoriesListAsAnsibleListsThem(t *testing.T) {
	t.Parallel()
	peer := startAnsible(t)
	loaded := 0
	for i := range *randomCases {
		g := &generator{Rand: rand.New(rand.NewSource(*randomSeed + int64(i)))}
		name := "hosts"
		if i%2 == 0 {
			name = "hosts.yml"
			g.yaml()
		} else {
			g.ini()
		}
		dir := t.TempDir()
		file := writeFile(t, filepath.Join(dir, name), g.String(), 0o644)
		for _, entity := range g.some(randomGroups, 3) {
			path := filepath.Join(dir, g.pick([]string{"group_vars", "host_vars"}), entity+g.pick(varsExtensions[:3]))
			writeFile(t, path, fmt.Sprintf("%s: %s\n", g.pick(randomVars), g.pick(randomValues)), 0o644)
		}
		inv, err := Load(context.Background(), []string{file}, Options{PlaybookDir: dir})
		theirs := peer.run(t, "inventory", dir, "-i", name, "--list")
		refused := theirs.Code != 0 || strings.Contains(theirs.Stderr, "Unable to parse")
		switch {
		case err != nil && !refused:
			t.Errorf("seed %d: %v, but Ansible reads\n%s", *randomSeed+int64(i), err, g.String())
		case err == nil && refused:
			t.Errorf("seed %d: Ansible refuses (%s)\n%s", *randomSeed+int64(i), theirs.Stderr, g.String())
		case err == nil && string(inv.List()) != theirs.Stdout && !sameJSON(string(inv.List()), theirs.Stdout):
			t.Errorf("seed %d:\n%s\nfleetctl:\n%s\nansible-inventory:\n%s", *randomSeed+int64(i), g.String(), inv.List(), theirs.Stdout)
		case err == nil:
			loaded++
		}
	}
	t.Logf("%d of %d random inventories loaded and were the same", loaded, *randomCases)
}

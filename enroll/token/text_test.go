package token

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"fleetctl/remote"
)

// WriteText writes a difference as the tests compare it: "+" comes, "-" goes, "~" changes, "?" is not ours and stays.
func (d Diff) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, c := range d.Bots {
		c.writeText(out)
	}
	for _, c := range d.Tokens {
		c.writeText(out)
	}
	return out.Flush()
}

func (c BotChange) writeText(w io.Writer) {
	switch c.Action {
	case ActionCreate:
		fmt.Fprintf(w, "bot %s: create with roles %s\n", c.Name, strings.Join(c.Want, ", "))
	case ActionUpdate:
		fmt.Fprintf(w, "bot %s: has roles %s, not %s (they stay, unless --overwrite-roles is given)\n", c.Name,
			cmp.Or(strings.Join(c.Have, ", "), "none"), strings.Join(c.Want, ", "))
	}
}

func (c Change) writeText(w io.Writer) {
	if c.Action == ActionNone && len(c.Foreign) == 0 {
		return
	}
	word := map[Action]string{ActionNone: "unchanged"}[c.Action]
	fmt.Fprintf(w, "token %s: %s\n", c.Name, cmp.Or(word, string(c.Action)))
	for _, f := range c.Fields {
		fmt.Fprintf(w, "  ~ %s: %s → %s\n", f.Field, cmp.Or(f.Have, "nothing"), cmp.Or(f.Want, "nothing"))
	}
	for _, host := range c.Added {
		fmt.Fprintf(w, "  + %s\n", remote.Clean(host))
	}
	for _, host := range c.Removed {
		fmt.Fprintf(w, "  - %s\n", remote.Clean(host))
	}
	for _, r := range c.Changed {
		fmt.Fprintf(w, "  ~ %s: %s\n", remote.Clean(r.Host), r.What)
	}
	for _, f := range c.Pruned {
		fmt.Fprintf(w, "  - %s (fleetctl did not write it)\n", f)
	}
	for _, f := range c.Foreign {
		fmt.Fprintf(w, "  ? %s: fleetctl did not write it; it stays (--adopt takes it over, --prune removes it)\n", f)
	}
}

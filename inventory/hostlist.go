package inventory

import "strings"

// addHostList adds the hosts of "a,b:2222," to ungrouped. Ranges are written out, as Ansible's advanced_host_list does.
func addHostList(g *graph, list string) error {
	ungrouped := g.groups[groupUngrouped]
	pos := Pos{File: list}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		names, port, err := expandHosts(item)
		if err != nil {
			return &Error{Pos: pos, Msg: err.Error()}
		}
		for _, name := range names {
			if g.hosts[name] != nil {
				continue
			}
			if _, err := g.addHost(name, ungrouped, port, pos); err != nil {
				return err
			}
		}
	}
	return nil
}

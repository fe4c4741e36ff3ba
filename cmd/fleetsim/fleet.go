//go:build linux

package main

import (
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"slices"
)

// condition is what is the matter with a host.
type condition string

const (
	healthy       condition = "healthy"        // a TPM with an EK certificate from the fleet's CA
	noEKCert      condition = "no-ekcert"      // a TPM without an EK certificate
	foreignEKCert condition = "foreign-ekcert" // an EK certificate from a CA that is not in tpm-cas.pem
	noTPM         condition = "no-tpm"         // nothing at tpm_device
	cloned        condition = "cloned"         // the TPM of a healthy host, copied
	noTbot        condition = "no-tbot"        // tbot is not installed
	changedKey    condition = "changed-key"    // known_hosts holds another host key
	down          condition = "down"           // connections are refused
	silent        condition = "silent"         // connections are accepted, and nothing is ever said
)

// conditions that -mix knows.
var conditions = []condition{noEKCert, foreignEKCert, noTPM, cloned, noTbot, changedKey, down, silent}

func conditionNames() []string {
	var names []string
	for _, c := range conditions {
		names = append(names, string(c))
	}
	return names
}

func isCondition(name string) bool { return slices.Contains(conditions, condition(name)) }

const maxHosts = 50000

// host is one simulated host, as the controller side tells the hosts' side.
type host struct {
	Name      string
	Group     string
	Addr      netip.Addr
	Condition condition
	CloneOf   string             `json:",omitempty"` // whose TPM state it has
	Key       ed25519.PrivateKey // the host key
}

// planFleet lays out n hosts in three groups with the mix spread over them; the same arguments give the same fleet but
// for the host keys.
func planFleet(n int, mix map[condition]int) ([]host, error) {
	fleet := make([]host, n)
	for i := range fleet {
		group, ordinal := groupOf(i, n)
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, fmt.Errorf("host key: %w", err)
		}
		fleet[i] = host{
			Name:      fmt.Sprintf("%s-%0*d", group, max(2, len(fmt.Sprint(n))), ordinal),
			Group:     group,
			Addr:      addrOf(i),
			Condition: healthy,
			Key:       key,
		}
	}
	spread(fleet, mix)
	return fleet, nil
}

// groupOf puts three of five hosts into web, one into db and one into cache; ordinals start at 1.
func groupOf(i, n int) (group string, ordinal int) {
	webs, dbs := (3*n+4)/5, n/5
	switch {
	case i < webs:
		return "web", i + 1
	case i < webs+dbs:
		return "db", i - webs + 1
	}
	return "cache", i - webs - dbs + 1
}

// addrOf keeps clear of the addresses at the ends of a /24, which some people's firewalls treat specially.
func addrOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(77 + i/(250*250)), byte(i / 250 % 250), byte(i%250 + 1)})
}

// spread hands out the conditions, every few hosts one, from the second host on: the first is always healthy if any is.
func spread(fleet []host, mix map[condition]int) {
	total := 0
	for _, k := range mix {
		total += k
	}
	if total == 0 {
		return
	}
	sick := 0
	for _, c := range conditions {
		for range mix[c] {
			fleet[len(fleet)-1-sick*len(fleet)/total].Condition = c
			sick++
		}
	}
	for i, h := range fleet {
		if h.Condition == cloned {
			fleet[i].CloneOf = original(fleet, i)
		}
	}
}

// original names the nearest healthy host before a clone, or else the last one behind it.
func original(fleet []host, clone int) (name string) {
	for i := range fleet {
		h := fleet[(clone+1+i)%len(fleet)]
		if h.Condition == healthy {
			name = h.Name
		}
	}
	return name
}

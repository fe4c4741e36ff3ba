package tctl

import (
	"bytes"
	"context"
	"time"

	"fleetctl/remote"
)

// Join is what the cluster knows of one TPM's latest join.
type Join struct {
	At       time.Time `json:"at"` // in whole microseconds, as records keep it: a join never looks newer than itself
	Bot      string    `json:"bot"`
	Instance string    `json:"instance"`               // the bot instance's ID
	Token    string    `json:"token,omitempty"`        // it joined with
	Method   string    `json:"join_method,omitempty"`  // of this join
	Hostname string    `json:"hostname,omitempty"`     // the host's own word
	Version  string    `json:"tbot_version,omitempty"` // the host's own word, in its latest heartbeat
	Services []Service `json:"services,omitempty"`     // the host's own word; from clusters of 18.4.0 and later
}

// Service is how a service of a tbot is, in its own words.
type Service struct {
	Name   string `json:"service"`
	Type   string `json:"type,omitempty"`
	Health string `json:"health"` // healthy, unhealthy, initializing
	Reason string `json:"reason,omitempty"`
}

// maxServices is how many services are kept of a tbot.
const maxServices = 32

// Unattributed stands in place of an EKPub hash for joins of which the cluster doesn't say the TPM: those before 17.2.0 need
// not (#50980).
const Unattributed = ""

// Joins asks the cluster for the latest join of every TPM, by EKPub hash, as one of these bots or, if none is named, as
// any. A cluster keeps an instance for as long as its certificate is valid, and a little longer. Clusters before 16.4.6
// have no such records: the error then is tctl's.
func (t Tctl) Joins(ctx context.Context, bots ...string) (map[string]Join, error) {
	if len(bots) == 0 {
		bots = []string{""}
	}
	joins := latest{}
	for _, bot := range bots {
		if err := t.eachInstance(ctx, bot, joins.add); err != nil {
			return nil, err
		}
	}
	return joins, nil
}

// ParseJoins reads what "tctl get bot_instance --format=json" prints.
func ParseJoins(out []byte) (map[string]Join, error) {
	joins := latest{}
	err := decodeInstances(bytes.NewReader(out), joins.add)
	if err != nil {
		return nil, err
	}
	return joins, nil
}

// latest are the latest joins by EKPub hash.
type latest map[string]Join

// add takes the joins of an instance that are newer than those that are there.
func (l latest) add(i *instance) {
	all := i.Status.Latest
	if i.Status.Initial != nil {
		all = append(all, *i.Status.Initial)
	}
	for _, a := range all {
		hash := a.hash()
		j := i.join(a)
		if old, ok := l[hash]; hash == Unattributed && a.Method != "tpm" || ok && !j.At.After(old.At) {
			continue
		}
		l[hash] = j
	}
}

func (i *instance) join(a authentication) Join {
	beat := i.beat()
	j := Join{
		At: a.At.Truncate(time.Microsecond), Bot: i.Spec.BotName, Instance: i.Spec.InstanceID, Token: a.Token, Method: a.Method,
		Hostname: remote.Clean(beat.Hostname), Version: remote.Cut(beat.Version, 40),
	}
	for _, s := range i.Status.Services[:min(len(i.Status.Services), maxServices)] {
		j.Services = append(j.Services, Service{
			Name: remote.Cut(s.Service.Name, 100), Type: remote.Cut(s.Service.Type, 100),
			Health: string(s.Status), Reason: remote.Cut(s.Reason, 300),
		})
	}
	return j
}

// ReadsInstances tries whether tctl's user may read the instances of a bot. It reads one at the most: a fleet may have gigabytes.
func (t Tctl) ReadsInstances(ctx context.Context, bot string) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	read := false
	err := t.eachInstance(limited, bot, func(*instance) {
		read = true
		cancel()
	})
	if read && ctx.Err() == nil {
		return nil
	}
	return err
}

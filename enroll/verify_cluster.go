package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fleetctl/remote"
	"fmt"
	"strings"
	"time"
)

// Join is what the cluster knows of one TPM's latest join.
type Join struct {
	At       time.Time `json:"at"`
	Bot      string    `json:"bot"`
	Instance string    `json:"instance"`           // the bot instance's ID
	Token    string    `json:"token,omitempty"`    // it joined with
	Hostname string    `json:"hostname,omitempty"` // the host's own word
}

// botInstance is what is read of a bot_instance resource (Teleport 17 and later).
type botInstance struct {
	Spec struct {
		BotName    string `json:"bot_name"`
		InstanceID string `json:"instance_id"`
	} `json:"spec"`
	Status struct {
		Initial *authentication  `json:"initial_authentication"`
		Latest  []authentication `json:"latest_authentications"`
		Beats   []struct {
			Hostname string `json:"hostname"`
		} `json:"latest_heartbeats"`
	} `json:"status"`
}

type authentication struct {
	At    time.Time `json:"authenticated_at"`
	Token string    `json:"join_token"`
	Attrs struct {
		TPM struct {
			Hash string `json:"ek_pub_hash"`
		} `json:"tpm"`
	} `json:"join_attrs"`
}

// Joins asks the cluster for the latest join of every TPM, by EKPub hash. Clusters before 17 have no such records:
// the error then is tctl's.
func (t Tctl) Joins(ctx context.Context) (map[string]Join, error) {
	out, err := t.run(ctx, nil, "get", "bot_instance", "--format=json")
	if err != nil {
		return nil, err
	}
	return parseJoins(out)
}

func parseJoins(out []byte) (map[string]Join, error) {
	var list []botInstance
	if len(strings.TrimSpace(string(out))) == 0 {
		return map[string]Join{}, nil
	}
	if err := json.Unmarshal(out, &list); err != nil {
		var one botInstance
		if json.Unmarshal(out, &one) != nil {
			return nil, fmt.Errorf("tctl get bot_instance: %w", err)
		}
		list = []botInstance{one}
	}
	joins := make(map[string]Join, len(list))
	for _, b := range list {
		hostname := ""
		if n := len(b.Status.Beats); n > 0 {
			hostname = remote.Clean(b.Status.Beats[n-1].Hostname)
		}
		all := b.Status.Latest
		if b.Status.Initial != nil {
			all = append(all, *b.Status.Initial)
		}
		for _, a := range all {
			hash := strings.ToLower(a.Attrs.TPM.Hash)
			if old, ok := joins[hash]; hash == "" || ok && !a.At.After(old.At) {
				continue
			}
			joins[hash] = Join{At: a.At, Bot: b.Spec.BotName, Instance: b.Spec.InstanceID, Token: a.Token, Hostname: hostname}
		}
	}
	return joins, nil
}

// confirmation asks the cluster which hosts joined in this run: two questions a run, however many hosts there are.
type confirmation struct {
	tctl   *Tctl
	logf   func(string, ...any)
	before map[string]Join // nil: the cluster doesn't say
}

// begin remembers how things are before anything is done.
func (c *confirmation) begin(ctx context.Context) {
	if c.tctl == nil {
		return
	}
	before, err := c.tctl.Joins(ctx)
	if err != nil {
		c.say("the cluster doesn't say which bots joined: %v", err)
		return
	}
	c.before = before
}

func (c *confirmation) say(format string, args ...any) {
	if c.logf != nil {
		c.logf(format, args...)
	}
}

// How often and how long apart the cluster is asked for joins that it doesn't have yet.
const (
	confirmTries = 3
	confirmPause = 2 * time.Second
)

// end marks the results of hosts that were started: the cluster has a join of that EK that it didn't have before, or
// the result gets a warning.
func (c *confirmation) end(ctx context.Context, results []Result, hashOf func(host string) string) {
	open := map[int]string{}
	for i := range results {
		if results[i].Joined != "" {
			if hash := hashOf(results[i].Host); hash != "" {
				open[i] = hash
			}
		}
	}
	if c.before == nil || len(open) == 0 {
		return
	}
	for try := range confirmTries {
		joins, err := c.tctl.Joins(ctx)
		if err != nil {
			c.say("the cluster doesn't say which bots joined: %v", err)
			return
		}
		for i, hash := range open {
			if j, ok := joins[hash]; ok && j.At.After(c.before[hash].At) {
				results[i].Joined, results[i].Instance = results[i].Joined+"+cluster", j.Instance
				delete(open, i)
			}
		}
		if len(open) == 0 || try == confirmTries-1 || wait(ctx, confirmPause) != nil {
			break
		}
	}
	for i := range open {
		results[i].Warnings = append(results[i].Warnings, Warning{
			Reason: Because(JoinUnconfirmed, "the host says that tbot joined, and the cluster shows no join of this EK"),
		})
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// checkVersion says whether a tbot fits a cluster: Teleport supports clients that are at most one major version older
// than the cluster, and none that are newer.
func checkVersion(tbot, cluster string) error {
	t, c := major(tbot), major(cluster)
	switch {
	case t == 0 || c == 0:
		return nil
	case t > c:
		return fmt.Errorf("tbot %s is newer than the cluster (%s): that is not supported", tbot, cluster)
	case t < c-1:
		return fmt.Errorf("tbot %s is more than one major version older than the cluster (%s): that is not supported", tbot, cluster)
	}
	return nil
}

var errNoVersion = errors.New("tctl status prints no version")

// ClusterVersion asks tctl which version the cluster runs.
func (t Tctl) ClusterVersion(ctx context.Context) (string, error) {
	out, err := t.run(ctx, nil, "status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(line, "  "); ok && strings.HasPrefix(strings.ToLower(key), "version") {
			if v := strings.TrimPrefix(strings.TrimSpace(value), "v"); versionIn.FindString(v) == v && v != "" {
				return v, nil
			}
		}
	}
	return "", errNoVersion
}

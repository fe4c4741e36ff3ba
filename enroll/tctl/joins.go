package tctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
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
	return ParseJoins(out)
}

func ParseJoins(out []byte) (map[string]Join, error) {
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

var errNoVersion = errors.New("tctl status prints no version")

// ClusterVersion asks tctl which version the cluster runs.
func (t Tctl) ClusterVersion(ctx context.Context) (string, error) {
	out, err := t.run(ctx, nil, "status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(line, "  "); ok && strings.HasPrefix(strings.ToLower(key), "version") {
			if v := strings.TrimPrefix(strings.TrimSpace(value), "v"); versions.VersionIn.FindString(v) == v && v != "" {
				return v, nil
			}
		}
	}
	return "", errNoVersion
}

package cluster_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/enroll/outcome"
	enrolltctl "fleetctl/enroll/tctl"
	enrolltpm "fleetctl/enroll/tpm"
	enrollversions "fleetctl/enroll/versions"
)

// sample reads a sample of what Teleport's programs print: testdata/samples/README.txt.
func sample(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var abab = strings.Repeat("ab", 32)

// saying is the product's tctl, and a program that says the same to everything.
func saying(stdout, stderr string, code int) enrolltctl.Tctl {
	return enrolltctl.Tctl{Runner: enrolltctl.Func(func(context.Context, []byte, []string) ([]byte, []byte, int) {
		return []byte(stdout), []byte(stderr), code
	})}
}

func TestTheProductReadsTheSamplesOfTctl(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name, kind, resource string
		absent               bool
		code                 outcome.Code
	}{
		{"tctl-get-token-missing.stderr", "token", "fleet-token", true, ""},
		{"tctl-get-token-missing.stderr", "token", "other-token", true, ""}, // its end and its length are the same
		{"tctl-get-token-missing.stderr", "token", "fleet", false, outcome.General},
		{"tctl-get-bot-missing.stderr", "bot", "fleet", true, ""},
		{"tctl-get-bot-missing.stderr", "bot", "other", false, outcome.General},
		{"tctl-mfa.stderr", "token", "fleet-token", false, outcome.MFARequired},
	} {
		err := saying("", sample(t, c.name), 1).Get(ctx, c.kind, c.resource, &struct{}{})
		if errors.Is(err, enrolltctl.ErrNoResource) != c.absent || !c.absent && outcome.ReasonOf(err).Code != c.code {
			t.Errorf("%s of %s/%s: %v", c.name, c.kind, c.resource, err)
		}
	}
	if v, err := saying(sample(t, "tctl-status-2023-layout.txt"), "An alert.\n\n", 0).ClusterVersion(ctx); err != nil || v != "17.5.4" {
		t.Error(v, err)
	}
	if err := saying(sample(t, "tctl-create-token.stdout"), "", 0).Create(ctx, os.DevNull, true); err != nil {
		t.Error(err)
	}
}

func TestTheProductReadsTheSamplesOfBotInstances(t *testing.T) {
	for name, version := range map[string]string{
		"bot_instance-16.4-no-join-attrs.UNSURE.json": "17.5.4", "bot_instance-17.5.0.json": "17.5.4", "bot_instance-17.5.1.json": "17.5.4",
	} {
		joins, err := saying(sample(t, name), "", 0).Joins(t.Context(), "fleet")
		j, ok := joins[abab]
		if err != nil || !ok || len(joins) != 1 || j.Token != "fleet-token" || j.Hostname != "node1" || j.Version != version ||
			j.At.UTC().Format("2006-01-02T15:04:05.9Z") != "2026-02-03T10:00:01.4Z" {
			t.Errorf("%s: %+v %v", name, joins, err)
		}
	}
}

func TestTheProductReadsTheSamplesOfTbot(t *testing.T) {
	for name, want := range map[string]string{"tpm-identify-ekcert.txt": "5e:cd:5f:8e", "tpm-identify-colon.txt": ""} {
		id, err := enrolltpm.ParseIdentifyText([]byte(sample(t, name)))
		if err != nil || id.Hash != abab || id.Serial != want {
			t.Errorf("%s: %+v %v", name, id, err)
		}
	}
	for name, want := range map[string]string{"tbot-version-oss.txt": "17.5.4", "tbot-version-ent.txt": "18.4.0"} {
		if got := enrollversions.FromOutput(sample(t, name)); got.String() != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

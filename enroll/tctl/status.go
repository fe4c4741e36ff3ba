package tctl

import (
	"context"
	"errors"
	"strings"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

var errNoVersion = errors.New("tctl status prints no version")

// ClusterVersion asks tctl which version the cluster runs.
func (t Tctl) ClusterVersion(ctx context.Context) (string, error) {
	out, err := t.get(ctx, "status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := versionLine(line); ok {
			return v, nil
		}
	}
	return "", errNoVersion
}

// ClusterName asks tctl for the cluster's name; "" when it prints none.
func (t Tctl) ClusterName(ctx context.Context) (string, error) {
	out, err := t.get(ctx, "status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && strings.EqualFold(strings.TrimSuffix(fields[0], ":"), "cluster") {
			return remote.Clean(fields[1]), nil
		}
	}
	return "", nil
}

// versionLine reads "Version  17.5.4" (tool/tctl, status_command.go@09ce912d: two columns), with a colon or without.
func versionLine(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) != 2 || !strings.EqualFold(strings.TrimSuffix(fields[0], ":"), "version") {
		return "", false
	}
	v, ok := versions.Parse(fields[1])
	return v.String(), ok
}

package tctl

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

var errNoVersion = errors.New("tctl status prints no version")

// ClusterVersion asks tctl which version the cluster runs.
func (t Tctl) ClusterVersion(ctx context.Context) (string, error) {
	_, v, err := t.Status(ctx)
	if err == nil && v.IsZero() {
		err = errNoVersion
	}
	return v.String(), err
}

// Cluster is which cluster tctl speaks to.
type Cluster struct {
	Name string   // "": tctl printed none
	Pins []string // of its CAs, sorted: "sha256:…"; several while one is rotated
}

var caPin = regexp.MustCompile(`\bsha256:[0-9a-f]{64}\b`)

// Cluster asks tctl which cluster it speaks to. It prints "Cluster  NAME" and "CA pin  sha256:…"
// (status_command.go@09ce912d, of 2023; how 17 and later print it was not seen, so a colon is let pass, and pins are found by
// their form).
func (t Tctl) Cluster(ctx context.Context) (Cluster, error) {
	c, _, err := t.Status(ctx)
	return c, err
}

// Status asks tctl once which cluster it speaks to, and which version that runs; what it doesn't print is zero.
func (t Tctl) Status(ctx context.Context) (c Cluster, v versions.Version, err error) {
	out, err := t.get(ctx, "status")
	if err != nil {
		return c, v, err
	}
	for line := range strings.Lines(string(out)) {
		if found, ok := versionLine(line); ok {
			v = found
			break
		}
	}
	return parseCluster(string(out)), v, nil
}

func parseCluster(out string) (c Cluster) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 2 && c.Name == "" && strings.EqualFold(strings.TrimSuffix(fields[0], ":"), "cluster") {
			c.Name = remote.Clean(fields[1])
		}
	}
	c.Pins = caPin.FindAllString(out, -1)
	slices.Sort(c.Pins)
	c.Pins = slices.Compact(c.Pins)
	return c
}

// versionLine reads "Version  17.5.4" (tool/tctl, status_command.go@09ce912d: two columns), with a colon or without.
func versionLine(line string) (v versions.Version, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 2 || !strings.EqualFold(strings.TrimSuffix(fields[0], ":"), "version") {
		return v, false
	}
	return versions.Parse(fields[1])
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/report"
)

// metricsFlags are those of commands that leave metrics behind.
func metricsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "metrics-file",
			Usage: "write metrics of the fleet to `FILE`, for the textfile collector of Prometheus's node_exporter"},
	}
}

// measured writes the metrics of --metrics-file, and returns how the command ends: as before, or with what kept them from being
// written. states are those that status has seen; nil: nobody looked. A command that was interrupted leaves the metrics of the
// one before.
func (s session) measured(c *cli.Context, states map[outcome.Code]int, err error) error {
	name := c.String("metrics-file")
	if name == "" || s.Store == nil || c.Context.Err() != nil || errors.Is(err, outcome.ErrInput) {
		return err
	}
	return errors.Join(err, writeMetrics(c.Context, name, s.Fleet, states))
}

func writeMetrics(ctx context.Context, name string, f enroll.Fleet, states map[outcome.Code]int) error {
	r, err := enroll.Report(ctx, f)
	if err != nil {
		return fmt.Errorf("--metrics-file: %w", err)
	}
	m := &metrics{registry: prometheus.NewRegistry()}
	m.fleet(r)
	m.runs(r.Runs)
	if states != nil {
		m.states(states)
	}
	if err := errors.Join(m.err, prometheus.WriteToTextfile(name, m.registry)); err != nil { // whole or not at all
		return inputError(fmt.Errorf("--metrics-file: %w", err))
	}
	return nil
}

// metrics are gauges by their names (Prometheus, "Metric and label naming").
type metrics struct {
	registry *prometheus.Registry
	err      error
}

// gauge makes a gauge with labels. Everything that is counted was counted at one time, so none of them is a counter.
func (m *metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "fleetctl", Name: name, Help: help}, labels)
	m.err = errors.Join(m.err, m.registry.Register(g))
	return g
}

// fleet is what the records know.
func (m *metrics) fleet(r report.Report) {
	m.gauge("info", "Which fleetctl wrote this, of which fleet and cluster; always 1.", "version", "fleet", "cluster").
		WithLabelValues(version, r.Fleet, r.Cluster).Set(1)
	hosts := m.gauge("hosts", "Hosts of the records, by the state of their record.", "state")
	for _, c := range r.States {
		hosts.WithLabelValues(c.Name).Set(float64(c.Hosts))
	}
	m.gauge("hosts_proven", "Hosts whose TPM has proven its EK.").WithLabelValues().Set(float64(r.Totals.Proven))
	m.gauge("hosts_installed", "Hosts that enroll has been on.").WithLabelValues().Set(float64(r.Totals.Installed))
	m.gauge("hosts_joined", "Hosts of which a join is known.").WithLabelValues().Set(float64(r.Totals.Joined))
	concerns := m.gauge("hosts_concerned", "Hosts that somebody should look at, by status (fleetctl explain).", "status", "severity")
	for _, c := range r.Concerns {
		concerns.WithLabelValues(string(c.Code), string(c.Severity)).Set(float64(c.Hosts))
	}
	expiry := m.gauge("ek_certificates_expiring", "EK certificates, by the month in which they end.", "month")
	for _, month := range r.Expiry.Months {
		expiry.WithLabelValues(month.Month).Set(float64(month.Hosts))
	}
}

// runs is the latest run of each command.
func (m *metrics) runs(runs []report.Run) {
	began := m.gauge("last_run_start_timestamp_seconds", "When the latest run of a command began.", "command")
	took := m.gauge("last_run_duration_seconds", "How long it took; absent for one that was broken off.", "command")
	ended := m.gauge("last_run_hosts", "Its hosts, by how it ended for them.", "command", "outcome")
	seen := map[string]bool{}
	for _, r := range runs {
		if seen[r.Command] {
			continue
		}
		seen[r.Command] = true
		began.WithLabelValues(r.Command).Set(seconds(r.Started))
		if !r.Ended.IsZero() {
			took.WithLabelValues(r.Command).Set(r.Ended.Sub(r.Started).Seconds())
		}
		for how, n := range r.Outcomes {
			ended.WithLabelValues(r.Command, how).Set(float64(n))
		}
	}
}

// states is what status has seen.
func (m *metrics) states(counts map[outcome.Code]int) {
	g := m.gauge("status_hosts", "Hosts, by the state that status has seen.", "state")
	for _, state := range enroll.HostStates() {
		g.WithLabelValues(string(state)).Set(float64(counts[state]))
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

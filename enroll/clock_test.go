package enroll

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"fleetctl/enroll/outcome"
)

// clocks sets the controller's clock, and the cluster's, as they are from now.
func (l *lab) clocks(here, cluster time.Duration) {
	l.Now = func() time.Time { return time.Now().Add(here) }
	l.ClusterTime = func(context.Context) (time.Time, error) { return time.Now().Add(cluster), nil }
}

func TestAClockThatCannotBeRightIsSaid(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for what, tt := range map[string]struct {
		here, cluster   time.Duration
		newest, apart   bool
		clusterIsSilent bool
	}{
		"both are right":                       {},
		"half an hour apart":                   {cluster: 30 * time.Minute},
		"two hours before the cluster's":       {here: 2 * time.Hour, apart: true},
		"two hours behind the cluster's":       {cluster: 2 * time.Hour, apart: true},
		"behind the records and the cluster":   {here: -year, newest: true, apart: true},
		"behind the records, nobody answers":   {here: -year, newest: true, clusterIsSilent: true},
		"years ahead, and nobody answers":      {here: 10 * year, clusterIsSilent: true}, // nobody can know
		"behind the records by some seconds":   {here: -10 * time.Second},
		"years ahead, and so is the cluster's": {here: 10 * year, cluster: 10 * year},
	} {
		for name, run := range everyCommand {
			if name == "remove" || name == "recover" || !tt.newest && name != "tokens --diff" {
				continue // those two judge nothing; and one command is enough for what is not said
			}
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, 2)
				l.enrolled()
				l.clocks(tt.here, tt.cluster)
				if tt.clusterIsSilent {
					l.ClusterTime = func(context.Context) (time.Time, error) { return time.Time{}, errors.New("connection refused") }
				}
				l.heard.forget()
				if err := run(l); err != nil {
					t.Error(err)
				}
				notes := heard[ClockOff](l)
				if len(notes) > 1 || len(notes) == 1 != (tt.newest || tt.apart) {
					t.Fatalf("%+v", notes)
				}
				if len(notes) == 1 && ((notes[0].Newest.ID != 0) != tt.newest || !notes[0].Cluster.IsZero() != tt.apart) {
					t.Errorf("%+v", notes[0])
				}
			})
		}
	}
}

// Dates of certificates are not judged by a clock that can't be right, and are by one that may be.
func TestNewcomersAreNotJudgedByAWrongClock(t *testing.T) {
	t.Parallel()
	for _, year := range []int{1970, 2036} {
		for _, known := range []bool{true, false} {
			l := newLab(t, 1)
			l.certify("web-01")
			l.Config.Token.WithoutEKCert = "refuse"
			l.Now = func() time.Time { return time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC) }
			if known {
				l.ClusterTime = func(context.Context) (time.Time, error) { return time.Now(), nil }
			}
			report, err := l.enroll()
			switch {
			case known && (err != nil || l.in("fleet") != "web-01: fleet"):
				t.Errorf("%d: %v, %s\n%s", year, err, told(report.Results), messages(report.Results))
			case !known && l.in("fleet") != "web-01:":
				t.Errorf("%d, and nobody knows better: %s", year, l.in("fleet"))
			}
		}
	}
}

func TestRunsThatWereMarkedAreNoNewestRecord(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.enrolled()
	l.Now = func() time.Time { return time.Now().AddDate(-1, 0, 0) } // the records were made by a clock that was ahead
	if _, err := l.scan(); err != nil || len(heard[ClockOff](l)) != 1 {
		t.Fatalf("%v, %+v", err, heard[ClockOff](l))
	}
	if report := l.recover(RecoverOptions{Clock: true}); len(report.Impossible) != 3 {
		t.Fatalf("marked %+v", report.Impossible)
	}
	l.heard.forget()
	if _, err := l.tokens(TokensOptions{}); err != nil {
		t.Fatal(err)
	}
	notes := heard[ClockOff](l)
	if len(notes) == 1 && notes[0].Newest.Command == "recover" { // the run that marked the others is as late as they are
		notes = nil
	}
	if len(notes) != 0 {
		t.Errorf("%+v", notes)
	}
}

// A scan doesn't say that a certificate has expired when it can't know.
func TestAScanWithholdsDatesOfCertificates(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	l.certify("web-01")
	codes := func() (all []outcome.Code) {
		report, err := l.scan()
		if err != nil && !errors.Is(err, outcome.ErrHostsFailed) {
			t.Fatal(err)
		}
		return append(warnings(report.Results[0]), report.Results[0].Code)
	}
	l.Now = func() time.Time { return time.Now().AddDate(400, 0, 0) }
	if got := codes(); !slices.Contains(got, outcome.EKCertExpired) {
		t.Errorf("nobody knows better: %v", got)
	}
	l.ClusterTime = func(context.Context) (time.Time, error) { return time.Now(), nil }
	if got := codes(); slices.Contains(got, outcome.EKCertExpired) {
		t.Errorf("%v", got)
	}
}

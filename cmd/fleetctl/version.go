package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
)

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "say which fleetctl this is, and what is in it",
		Flags:  outputFlags(a.commonFlags()),
		Action: a.showVersion,
	}
}

// outputFlags are those of commands that look at nothing but the program itself.
func outputFlags(common []cli.Flag) []cli.Flag { return []cli.Flag{flagOf(common, "output")} }

// build is what this program is made of.
type build struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit,omitempty"` // with "+changes" when files were changed since
	Date     string   `json:"date,omitempty"`   // of the commit
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Helpers  []string `json:"helpers"` // the architectures that a helper is embedded for
	Schema   int      `json:"records_schema"`
}

func (a *app) build() (build, error) {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Schema: store.SchemaVersion()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				b.Commit = s.Value + b.Commit
			case s.Key == "vcs.time":
				b.Date = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				b.Commit += "+changes"
			}
		}
	}
	var err error
	b.Helpers, err = scan.HelperArchitectures(a.helpers)
	return b, err
}

func (a *app) showVersion(c *cli.Context) error {
	if c.Args().Present() {
		return usage("version takes no arguments")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	b, err := a.build()
	if err != nil {
		return err
	}
	if p.format == "table" {
		return p.build(b)
	}
	if p.format != "csv" {
		return write(p, versionShape, b, nil, nil, nil)
	}
	return p.table([]string{"VERSION", "COMMIT", "DATE", "GO", "PLATFORM", "HELPERS", "RECORDS SCHEMA"}, 1, func(int) []string {
		return []string{b.Version, b.Commit, b.Date, b.Go, b.Platform, strings.Join(b.Helpers, " "), strconv.Itoa(b.Schema)}
	})
}

// build writes it for people.
func (p *printer) build(b build) error {
	for _, l := range [...][2]string{
		{"fleetctl", b.Version}, {"commit", cmp.Or(b.Commit, "unknown")}, {"date", cmp.Or(b.Date, "unknown")},
		{"Go", b.Go + ", " + b.Platform}, {"helpers", cmp.Or(strings.Join(b.Helpers, ", "), "none")},
		{"records schema", strconv.Itoa(b.Schema)},
	} {
		if err := writeLine(p.w, "%-16s%s", l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

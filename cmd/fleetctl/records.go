package main

import (
	"iter"
	"os"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
)

func (a *app) recordsCommand() *cli.Command {
	return &cli.Command{
		Name:  "records",
		Usage: "list what is known of every host, who changed it and why; change it, back it up, recover it",
		Flags: slices.Concat(a.commonFlags(), a.inventoryFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "issuers", Usage: "list who issued the fleet's EK certificates"},
			&cli.BoolFlag{Name: "removed", Usage: "list the machines that were taken out, also where no host has a record of them"},
		}),
		Action: a.records,
		Subcommands: slices.Concat([]*cli.Command{
			{
				Name: "export", Usage: "write every record, with keys and certificates",
				Description: "-o jsonl (default), json, yaml or csv. The file can be imported into other records.",
				Flags:       a.commonFlags(),
				Action:      a.exportRecords,
			},
			{
				Name: "import", Usage: "record identities that were found without SSH; they are unproven", ArgsUsage: "FILE…",
				Description: "FILE is the output of \"tbot tpm identify\" or \"identify -text\" (one host: name it with --host), of\n" +
					"\"identify -json\", or JSON objects one a line; - is standard input.",
				Flags: slices.Concat(a.commonFlags(), []cli.Flag{
					&cli.StringFlag{Name: "host", Usage: "the `NAME` of the host, where the file has none"},
					&cli.BoolFlag{Name: "trust-proofs", Usage: "restore records: what an export of yours says was proven is proven"},
				}),
				Action: a.importRecords,
			},
			{
				Name: "runs", Usage: "list the latest runs",
				Flags: slices.Concat(a.commonFlags(), []cli.Flag{
					&cli.IntFlag{Name: "last", Value: 20, Usage: "how many"},
				}),
				Action: a.listRuns,
			},
			{
				Name: "history", Usage: "list every observation of a host", ArgsUsage: "HOST",
				Flags: a.commonFlags(), Action: a.recordHistory,
			},
		}, a.changeCommands()),
	}
}

// withRecords opens the records, with fleet.yaml and the inventory where there are any, for a command that contacts no
// host.
func (a *app) withRecords(c *cli.Context, n recordsNeed, fn func(enroll.Fleet) error) error {
	s, err := a.session(c, needs{records: n})
	if err != nil {
		return err
	}
	defer s.close()
	return fn(s.Fleet)
}

// withStore is withRecords for a command that needs the records alone.
func (a *app) withStore(c *cli.Context, fn func(store.Store) error) error {
	st, err := a.open(c, true)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // every change is committed when it is made
	return fn(st)
}

func (a *app) records(c *cli.Context) error {
	if c.Args().Present() {
		return noSuch("command of records", c.Args().First(), c.Command.Subcommands)
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	return a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
		switch {
		case c.Bool("issuers"):
			return a.issuers(c, p, f)
		case c.Bool("removed"):
			return a.removedMachines(c, p, f.Store)
		}
		return stream(p, recordsShape, nothing{}, recordHeader, records.List(c.Context, f.Store, f.Inventory), recordCells)
	})
}

var recordHeader = []string{"HOST", "STATE", "EK PUBLIC HASH", "EKCERT SERIAL", "TOKEN", "LAST OUTCOME", "LAST STATUS", "LAST SEEN"}

func recordCells(v records.View) []string {
	return []string{v.Host, string(v.State), v.EKHash, v.EKSerial, v.Token, v.Outcome, v.Status, shortTime(v.Seen)}
}

func (a *app) issuers(c *cli.Context, p *printer, f enroll.Fleet) error {
	list, err := enroll.Issuers(c.Context, f)
	if err != nil {
		return err
	}
	header := []string{"HOSTS", "IN BUNDLE", "NOT AFTER", "SUBJECT", "FINGERPRINT", "URL"}
	return write(p, issuersShape, nothing{}, header, list, func(s records.Issuer) []string {
		return []string{strconv.Itoa(s.Hosts), strconv.FormatBool(s.InBundle), shortTime(s.NotAfter), s.Subject, s.Fingerprint, s.URL}
	})
}

func (a *app) exportRecords(c *cli.Context) error {
	if c.Args().Present() {
		return usage("export takes no arguments: it writes to standard output")
	}
	p, err := a.printer(c)
	switch {
	case err != nil:
		return err
	case !c.IsSet("output"):
		p.format = "jsonl"
	case p.format == "table":
		return usage("records cannot be exported as a table: -o jsonl, json, yaml or csv")
	}
	return a.withStore(c, func(st store.Store) error {
		return stream(p, exportShape, nothing{}, records.ExportHeader(), st.Records(c.Context), records.ExportCells)
	})
}

func (a *app) importRecords(c *cli.Context) error {
	files := c.Args().Slice()
	if len(files) == 0 {
		return usage("import what? Name a file, or - for standard input")
	}
	v, err := a.viewOf(c)
	if err != nil {
		return err
	}
	return a.withRecords(c, makeRecords, func(f enroll.Fleet) error {
		f.Watcher = v.printer.lined(f.Watcher)
		report, err := enroll.Import(c.Context, f, enroll.ImportOptions{
			Host: c.String("host"), TrustProofs: c.Bool("trust-proofs"),
		}, a.files(files))
		return show(v, report, err)
	})
}

// files opens files one after the other; - is standard input.
func (a *app) files(names []string) iter.Seq2[enroll.File, error] {
	return func(yield func(enroll.File, error) bool) {
		for _, name := range names {
			if name == "-" {
				if !yield(enroll.File{Name: name, Content: a.stdin}, nil) {
					return
				}
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				err = inputError(err)
			}
			more := yield(enroll.File{Name: name, Content: f}, err)
			_ = f.Close() // it was only read
			if !more {
				return
			}
		}
	}
}

var runHeader = []string{"RUN", "COMMAND", "STARTED", "ENDED", "STATE", "HOSTS", "BY", "REASON", "COMMAND LINE"}

func (a *app) listRuns(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	return a.withStore(c, func(st store.Store) error {
		runs, err := st.Runs(c.Context, c.Int("last"))
		if err != nil {
			return err
		}
		return write(p, runsShape, nothing{}, runHeader, runs, func(r store.Run) []string {
			return []string{
				strconv.FormatInt(r.ID, 10), r.Command, shortTime(r.Started), shortTime(r.Ended), r.State, strconv.Itoa(r.Hosts),
				r.By, r.Reason, r.Args,
			}
		})
	})
}

func (a *app) recordHistory(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("history of which host?")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	return a.withStore(c, func(st store.Store) error {
		if err := records.CheckHost(c.Context, st, c.Args().First()); err != nil {
			return err
		}
		header := []string{"RUN", "AT", "OUTCOME", "STATUS", "EK PUBLIC HASH", "PROVEN", "VIA", "MESSAGE"}
		seen := st.History(c.Context, c.Args().First())
		return stream(p, historyShape, nothing{}, header, seen, func(o store.Observation) []string {
			cells := []string{strconv.FormatInt(o.Run, 10), shortTime(o.At), o.Outcome, o.Status, "", "", "", o.Message}
			if i := o.Identity; i != nil {
				cells[4], cells[5], cells[6] = i.EKHash, strconv.FormatBool(i.Proven), i.Via
			}
			return cells
		})
	})
}

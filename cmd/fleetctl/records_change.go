package main

import (
	"context"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
)

// changeCommands are the subcommands of records that change who is let in, and the journal of these changes.
func (a *app) changeCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "accept", Usage: "accept the changed EK of hosts", ArgsUsage: "HOST…",
			Description: "Boards that hosts swapped are accepted together, in one command.",
			Flags: slices.Concat(a.commonFlags(), a.inventoryFlags(), []cli.Flag{
				&cli.BoolFlag{Name: "unproven", Usage: "accept also what nobody has proven in the place of what is proven"},
			}),
			Action: a.acceptRecords,
		},
		{
			Name: "forget", Usage: "drop hosts from the records; the next tokens are made without them", ArgsUsage: "HOST…",
			Flags: a.commonFlags(), Action: a.forgetRecords,
		},
		{
			Name: "rename", Usage: "give a host another name, with everything that is known of it", ArgsUsage: "OLD NEW",
			Description: "OLD has to have left the inventory. Where NEW was scanned already, it has to present the same EK.",
			Flags:       slices.Concat(a.commonFlags(), a.inventoryFlags()), Action: a.renameRecord,
		},
		{
			Name: "disable", Usage: "take the rules of hosts out; their records stay, and the hosts aren't touched", ArgsUsage: "HOST…",
			Flags: a.commonFlags(), Action: a.changeStates("disable which hosts?", enroll.DisableRecords),
		},
		{
			Name: "enable", Usage: "end what disable did", ArgsUsage: "HOST…",
			Flags: a.commonFlags(), Action: a.changeStates("enable which hosts?", enroll.EnableRecords),
		},
		{
			Name: "readmit", Usage: "let machines in again that were removed or replaced", ArgsUsage: "HOST|EKHASH…",
			Description: "EKHASH may be the first digits of the hash, 12 at least. The host is let in when it is scanned again.",
			Flags:       a.commonFlags(), Action: a.changeStates("readmit which machines?", enroll.ReadmitRecords),
		},
		{
			Name: "recover", Usage: "rebuild records that were lost or restored, from the cluster and the tokens' files",
			Description: "Adds who was removed (removed.yaml beside the tokens), which tokens machines may be configured with, which\n" +
				"one each host is assigned to, and epochs. It takes nothing away. Scan before it.",
			Flags: slices.Concat(a.commonFlags(), a.inventoryFlags(), []cli.Flag{
				&cli.StringFlag{Name: "out", Value: "out", Usage: "the tokens' files are in `DIR`"},
				&cli.BoolFlag{Name: "clock", Usage: "mark runs whose times are impossible"},
				&cli.BoolFlag{Name: "check", Usage: "change nothing; exit code 4 says that there is something to recover"},
			}),
			Action: a.recoverRecords,
		},
		{
			Name: "log", Usage: "list who changed what, and why", ArgsUsage: "[HOST]",
			Flags: a.commonFlags(), Action: a.recordLog,
		},
		{
			Name: "backup", Usage: "copy the records into a new file, also while they are in use", ArgsUsage: "FILE",
			Flags: a.commonFlags(), Action: a.backupRecords,
		},
	}
}

func (a *app) acceptRecords(c *cli.Context) error {
	hosts := c.Args().Slice()
	if len(hosts) == 0 {
		return usage("accept which hosts?")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	return a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
		accepted, err := enroll.AcceptRecords(c.Context, f, c.Bool("unproven"), hosts...)
		if err != nil {
			return err
		}
		a.say("next: \"fleetctl enroll\", or \"fleetctl tokens --apply\" for the rules alone")
		header := []string{"HOST", "OLD EK PUBLIC HASH", "NEW EK PUBLIC HASH"}
		return write(p, acceptedShape, nothing{}, header, accepted, func(h records.Acceptance) []string {
			return []string{h.Host, h.Old, h.New}
		})
	})
}

func (a *app) forgetRecords(c *cli.Context) error {
	hosts := c.Args().Slice()
	if len(hosts) == 0 {
		return usage("forget which hosts?")
	}
	return a.withStore(c, func(st store.Store) error {
		if err := enroll.ForgetRecords(c.Context, enroll.Fleet{Store: st}, hosts...); err != nil {
			return err
		}
		a.say("forgot %d hosts; next: \"fleetctl tokens --diff\" shows the rules that go, --apply takes them out of the cluster",
			len(hosts))
		return nil
	})
}

func (a *app) renameRecord(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage("rename what? Name the old name and the new one")
	}
	return a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
		done, err := enroll.RenameRecord(c.Context, f, c.Args().Get(0), c.Args().Get(1))
		switch {
		case err != nil:
			return err
		case done.United:
			a.say("%s and %s are one record now", done.From, done.To)
		default:
			a.say("%s is %s now", done.From, done.To)
		}
		return nil
	})
}

// changeStates is the action of a command that takes machines out or lets them in again.
func (a *app) changeStates(
	unsaid string, change func(context.Context, enroll.Fleet, ...string) ([]records.StateChange, error),
) cli.ActionFunc {
	return func(c *cli.Context) error {
		names := c.Args().Slice()
		if len(names) == 0 {
			return usage("%s", unsaid)
		}
		p, err := a.printer(c)
		if err != nil {
			return err
		}
		return a.withStore(c, func(st store.Store) error {
			changes, err := change(c.Context, enroll.Fleet{Store: st}, names...)
			if err != nil {
				return err
			}
			a.say("next: \"fleetctl tokens --diff\" shows what changes in the cluster, --apply does it")
			header := []string{"HOST", "WAS", "NOW", "EK PUBLIC HASH", "OTHER NAMES"}
			return write(p, changedStatesShape, nothing{}, header, changes, func(s records.StateChange) []string {
				return []string{s.Host, orIn(s.Was), orIn(s.Now), s.EKHash, joinNames(s.Also)}
			})
		})
	}
}

// orIn is the state of a machine in words.
func orIn(state string) string {
	if state == "" {
		return "in"
	}
	return state
}

func (a *app) recoverRecords(c *cli.Context) error {
	if c.Args().Present() {
		return usage("recover takes no arguments")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	s, err := a.session(c, needs{config: true, records: existingRecords, cluster: always})
	if err != nil {
		return err
	}
	defer s.close()
	report, err := enroll.Recover(c.Context, s.Fleet, enroll.RecoverOptions{
		Out: c.String("out"), Clock: c.Bool("clock"), Check: c.Bool("check"),
	})
	return show(recoverView{app: a, printer: p, check: c.Bool("check")}, report, err)
}

func (a *app) recordLog(c *cli.Context) error {
	if c.NArg() > 1 {
		return usage("the log of which host? Name one, or none for all")
	}
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	return a.withStore(c, func(st store.Store) error {
		header := []string{"RUN", "AT", "BY", "ACTION", "HOST", "EK PUBLIC HASH", "WHY"}
		return stream(p, logShape, nothing{}, header, records.Log(c.Context, st, c.Args().First()), func(e store.Entry) []string {
			return []string{strconv.FormatInt(e.Run, 10), shortTime(e.At), e.By, e.Action, e.Host, e.EKHash, e.Why}
		})
	})
}

func (a *app) backupRecords(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage("back up into which file?")
	}
	return a.withStore(c, func(st store.Store) error {
		if err := records.Backup(c.Context, st, c.Args().First()); err != nil {
			return err
		}
		a.say("copied the records to %s", c.Args().First())
		return nil
	})
}

// removedMachines lists machines that were taken out, also those of which no host has a record any more.
func (a *app) removedMachines(c *cli.Context, p *printer, st store.Store) error {
	header := []string{"HOST", "STATE", "EK PUBLIC HASH", "RUN", "AT", "BY", "WHY"}
	return stream(p, removedShape, nothing{}, header, records.Removed(c.Context, st), func(m store.Machine) []string {
		return []string{m.Host, m.State, m.EKHash, strconv.FormatInt(m.Run, 10), shortTime(m.At), m.By, m.Why}
	})
}

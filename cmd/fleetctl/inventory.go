package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"fleetctl/enroll"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/inventory"
	"fleetctl/remote"
)

func (a *app) inventoryCommand() *cli.Command {
	return &cli.Command{
		Name:      "inventory",
		Usage:     "show the hosts, as a table or as ansible-inventory prints them",
		ArgsUsage: "[INVENTORY…]",
		Flags: slices.Concat(a.commonFlags(), a.hostFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "everything as JSON, as ansible-inventory --list prints it"},
			&cli.StringFlag{Name: "host", Usage: "the variables of one `HOST` as JSON, as ansible-inventory --host prints them"},
			&cli.BoolFlag{Name: "show-secrets", Usage: "with --list or --host: what can be decrypted, in clear"},
			&cli.StringFlag{Name: "why", Usage: "where `VAR` of the host that is the last argument is set, and what counts"},
			&cli.BoolFlag{Name: "show-config", Usage: "what ansible.cfg and ANSIBLE_* say, and where"},
			&cli.BoolFlag{Name: "from-records",
				Usage: "what the records know, as an inventory for Ansible with groups by state, vendor and token"},
			&cli.BoolFlag{Name: "graph", Usage: "the tree of groups, as ansible-inventory --graph prints it"},
		}),
		Action: a.showInventory,
	}
}

func (a *app) showInventory(c *cli.Context) error {
	p, err := a.printer(c)
	if err != nil {
		return err
	}
	if c.Bool("show-config") {
		return a.showConfig(c, p)
	}
	if c.IsSet("why") {
		return a.why(c, p)
	}
	chosen := 0
	for _, name := range []string{"list", "host", "graph", "from-records"} {
		if c.IsSet(name) {
			chosen++
		}
	}
	if chosen > 1 || chosen == 1 && (c.IsSet("limit") || c.IsSet("output")) {
		return usage("--list, --host, --graph and --from-records exclude each other, --limit and -o")
	}
	if c.Bool("show-secrets") && !c.Bool("list") && !c.IsSet("host") {
		return usage("--show-secrets goes with --list or --host")
	}
	if chosen == 0 {
		return a.inventoryTable(c, p)
	}
	if c.Bool("from-records") {
		return a.withRecords(c, existingRecords, func(f enroll.Fleet) error {
			return records.ToInventory(c.Context, f.Store, f.Inventory, a.stdout)
		})
	}
	cfg, err := a.config(c, false)
	if err != nil {
		return err
	}
	inv, err := a.loadInventory(c, a.sources(c, cfg), true)
	if err != nil {
		return err
	}
	return a.ansibleOutput(c, inv)
}

// ansibleOutput prints what ansible-inventory prints.
func (a *app) ansibleOutput(c *cli.Context, inv *inventory.Inventory) error {
	var out []byte
	var err error
	if c.Bool("show-secrets") {
		inv = inv.Revealed()
	}
	switch {
	case c.Bool("list"):
		out = inv.List()
	case c.Bool("graph"):
		var graph string
		graph, err = inv.Graph("all")
		out = []byte(graph)
	default:
		out, err = inv.Host(c.String("host"))
	}
	if err != nil {
		return inputError(err)
	}
	_, err = a.stdout.Write(out)
	return err
}

// inventoryRow is a host as "fleetctl inventory" shows it: what the inventory says about reaching it. What it leaves to
// the OpenSSH configuration is empty.
type inventoryRow struct {
	Host    string   `json:"host"`
	Address string   `json:"address,omitempty"`
	Port    int      `json:"port,omitempty"`
	User    string   `json:"user,omitempty"`
	Groups  []string `json:"groups"`
	Problem string   `json:"problem,omitempty"` // why the host cannot be reached with this inventory
	Source  string   `json:"source"`            // file:line:column
}

// inventoryTable prints the hosts; the run fails when some of them cannot be reached with what the inventory says.
func (a *app) inventoryTable(c *cli.Context, p *printer) error {
	s, err := a.session(c, needs{hosts: true})
	if err != nil {
		return err
	}
	rows := make([]inventoryRow, 0, len(s.Hosts))
	bad := 0
	for _, h := range s.Hosts {
		row := newInventoryRow(h)
		if row.Problem != "" {
			bad++
		}
		rows = append(rows, row)
	}
	err = write(p, inventoryShape, nothing{}, inventoryHeader(bad), rows, func(r inventoryRow) []string { return r.cells(bad) })
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d %w", bad, len(s.Hosts), outcome.ErrHostsFailed)
	}
	return nil
}

func newInventoryRow(h inventory.Host) inventoryRow {
	row := inventoryRow{Host: h.Name, Groups: h.Groups, Source: h.Pos.String()}
	conn, err := h.Connection()
	if err != nil {
		row.Problem = err.Error()
		return row
	}
	row.Address, row.Port, row.User = conn.Host, conn.Port, conn.User
	const hidden = "(encrypted)"
	if h.Sealed("ansible_host", "ansible_ssh_host") {
		row.Address = hidden
	}
	if h.Sealed("ansible_port", "ansible_ssh_port") {
		row.Port = 0
	}
	if h.Sealed("ansible_user", "ansible_ssh_user") {
		row.User = hidden
	}
	return row
}

// inventoryHeader has a column for problems only where there are any.
func inventoryHeader(bad int) []string {
	header := []string{"HOST", "ADDRESS", "PORT", "USER", "GROUPS"}
	if bad > 0 {
		header = append(header, "PROBLEM")
	}
	return header
}

func (r inventoryRow) cells(bad int) []string {
	port := ""
	if r.Port != 0 {
		port = strconv.Itoa(r.Port)
	}
	cells := []string{r.Host, r.Address, port, r.User, strings.Join(r.Groups, ","), r.Problem}
	if bad == 0 {
		cells = cells[:len(cells)-1]
	}
	for i, cell := range cells {
		cells[i] = remote.Clean(cell)
	}
	return cells
}

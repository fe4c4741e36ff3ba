package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fleetctl/enroll/config"
	"fleetctl/enroll/scan"
	"fleetctl/enroll/store"
	"fleetctl/remote"
)

func (f *facts) fleetFile(context.Context) Check {
	if f.ConfigErr != nil {
		return failed(Error, f.ConfigErr, "")
	}
	return ok("is read; all that it needs is there")
}

func (f *facts) inventory(context.Context) Check {
	switch {
	case f.InventoryErr != nil:
		return failed(Error, f.InventoryErr, "")
	case len(f.Hosts) == 0:
		return Check{State: Warning, Message: "has no hosts",
			Hint: "name one in fleet.yaml (inventory:), or look at what fleetctl inventory shows"}
	}
	bad, first := 0, ""
	for _, h := range f.Hosts {
		_, err := h.Connection()
		if err == nil {
			_, err = config.Host(h)
		}
		if err != nil {
			if bad++; first == "" {
				first = fmt.Sprintf("%s: %v", h.Name, err)
			}
		}
	}
	if bad > 0 {
		return Check{
			State:   Warning,
			Message: remote.Line(fmt.Sprintf("%d of %d hosts cannot be reached with what it says, such as %s", bad, len(f.Hosts), first)),
			Hint:    "fleetctl inventory names all of them",
		}
	}
	return ok("%d hosts", len(f.Hosts))
}

func (f *facts) agent(ctx context.Context) Check {
	keys, err := f.Agent(ctx)
	switch {
	case errors.Is(err, remote.ErrNoAgent):
		return skipped("%v: keys are read from files", err)
	case err != nil:
		return failed(Warning, err, "start it anew, or unset SSH_AUTH_SOCK")
	case keys == 0:
		return Check{State: Warning, Message: "holds no keys", Hint: "ssh-add adds one; a key file that the inventory names does without"}
	}
	return ok("holds %d keys", keys)
}

// knownHosts looks hosts up until the time is over: a line whose name is hashed costs a hash for each host.
func (f *facts) knownHosts(ctx context.Context) Check {
	looked, unknown, first := 0, 0, ""
	for _, h := range f.Hosts {
		known, err := f.Knows(ctx, h)
		if ctx.Err() != nil {
			break
		}
		looked++
		if err == nil && !known {
			if unknown++; first == "" {
				first = h.Name
			}
		}
	}
	of := fmt.Sprint(len(f.Hosts))
	if looked < len(f.Hosts) {
		of = fmt.Sprintf("%d that there was time for, of %d,", looked, len(f.Hosts))
	}
	switch {
	case len(f.Hosts) == 0:
		return skipped("there are no hosts")
	case unknown > 0:
		return Check{State: Warning, Message: remote.Line(fmt.Sprintf("%d of %s hosts are not known, such as %s", unknown, of, first)),
			Hint: "fleetctl known-hosts collects their keys and compares them"}
	}
	return ok("all of %s hosts are known", of)
}

func (f *facts) openFiles(context.Context) Check {
	if f.Allowed < f.Forks {
		return Check{State: Warning, Message: fmt.Sprintf("enough for %d hosts at once, and %d are wanted", f.Allowed, f.Forks),
			Hint: "raise the limit (ulimit -n), or set rollout.forks lower"}
	}
	return ok("enough for %d hosts at once", f.Forks)
}

func (f *facts) helpers(context.Context) Check {
	archs, err := scan.HelperArchitectures(f.Helpers)
	switch {
	case err != nil:
		return failed(Error, err, "")
	case len(archs) == 0:
		return Check{State: Warning, Message: "none is in this program: hosts would be asked by their shell, which is slower",
			Hint: "build it with make build"}
	}
	return ok("for %s", strings.Join(archs, ", "))
}

func (f *facts) records(ctx context.Context) Check {
	h, err := store.Inspect(ctx, f.Records)
	switch {
	case errors.Is(err, store.ErrNoRecords):
		return skipped("there is no %s yet: fleetctl scan makes it", f.Records)
	case errors.Is(err, context.DeadlineExceeded):
		return failed(Warning, fmt.Errorf("%s: looking through it: %w", f.Records, err), "is its disk slow, or busy?")
	case err != nil:
		return failed(Error, fmt.Errorf("%s: %w", f.Records, err), "")
	case h.Schema == 0:
		return skipped("%s has nothing in it yet", f.Records)
	case h.Holder != "":
		return ok("%s of %d hosts, %s, undamaged; in use by %s", f.Records, h.Hosts, size(h.Bytes), h.Holder)
	case h.Schema < store.SchemaVersion():
		return Check{State: Warning,
			Message: fmt.Sprintf("%s of %d hosts, %s, undamaged, has schema %d", f.Records, h.Hosts, size(h.Bytes), h.Schema),
			Hint: fmt.Sprintf("the next command that uses it brings it to schema %d, which an older fleetctl refuses: back it up before",
				store.SchemaVersion())}
	}
	return ok("%s of %d hosts, %s, undamaged", f.Records, h.Hosts, size(h.Bytes))
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)/1024)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

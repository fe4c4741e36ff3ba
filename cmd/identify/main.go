//go:build linux

// Command identify is the helper that fleetctl pushes to a host: it reads the host's TPM and activates credentials, and
// leaves nothing in the TPM. Without -text or -json it speaks the protocol of package wire on stdin and stdout.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"fleetctl/enroll/tpm/device"
	"fleetctl/enroll/tpm/wire"
)

const usage = `usage: identify [-device PATH] [-text | -json]
  -device PATH  the TPM, a character device or a unix socket; default: the one that tbot takes
  -text         print the identity as "tbot tpm identify" does
  -json         print all facts as one line of JSON, for "fleetctl records import"
without -text and -json: speak fleetctl's protocol on stdin and stdout
`

type options struct {
	device string
	mode   string // "", "-text" or "-json"
}

func main() {
	o, ok := parse(os.Args[1:])
	if !ok {
		os.Stderr.WriteString(usage)
		os.Exit(2)
	}
	ctx, caught := untilSignal()
	err := run(ctx, o)
	if n := caught(); n != 0 {
		os.Exit(128 + n)
	}
	if err != nil {
		os.Stderr.WriteString("identify: " + err.Error() + "\n")
		os.Exit(1)
	}
}

func parse(args []string) (o options, ok bool) {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case (arg == "-text" || arg == "-json") && o.mode == "":
			o.mode = arg
		case arg == "-device" && i+1 < len(args) && args[i+1] != "":
			i++
			o.device = args[i]
		default:
			return o, false
		}
	}
	return o, true
}

// untilSignal returns a context that ends with the first signal that asks the process to end, and a function that says
// which one it was (0: none). A reader of stdout that went away must not kill the process before it has cleaned up.
func untilSignal() (context.Context, func() int) {
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	number := make(chan int, 1)
	go func() {
		if s, ok := (<-signals).(syscall.Signal); ok {
			number <- int(s)
		}
		cancel()
	}()
	return ctx, func() int {
		select {
		case n := <-number:
			return n
		default:
			return 0
		}
	}
}

func run(ctx context.Context, o options) error {
	open := func(ctx context.Context) (*device.Session, error) { return openTPM(ctx, o.device) }
	switch o.mode {
	case "-text":
		return printOnce(ctx, open, identityText)
	case "-json":
		return printOnce(ctx, open, factsJSON)
	}
	return device.Serve(ctx, os.Stdin, os.Stdout, open)
}

type opener func(context.Context) (*device.Session, error)

// printOnce prints one thing about the TPM and leaves nothing in it.
func printOnce(ctx context.Context, open opener, what func(context.Context, *device.Session) ([]byte, error)) error {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	out, err := what(ctx, s)
	err = errors.Join(err, s.Close())
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}

// openTPM opens the device that was asked for, or the one that tbot would take.
func openTPM(ctx context.Context, path string) (*device.Session, error) {
	found := wire.FoundOption
	if path == "" {
		var err error
		if path, found, err = (device.Finder{}).Find(); err != nil {
			return nil, err
		}
	}
	f, err := device.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return device.NewSession(f, path, found), nil
}

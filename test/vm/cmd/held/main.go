// Command held looks into a TPM from within a virtual machine.
//
//	held DEVICE       prints what the TPM holds, as JSON
//	held -use DEVICE  makes a key in the TPM, prints "ready", and keeps key and device until its standard input ends
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"

	"fleetctl/test/vm/held"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 2:
		err = show(os.Args[1])
	case len(os.Args) == 3 && os.Args[1] == "-use":
		err = use(os.Args[2])
	default:
		err = errors.New("usage: held [-use] DEVICE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "held:", err)
		os.Exit(1)
	}
}

func show(device string) error {
	tpm, err := linuxtpm.Open(device)
	if err != nil {
		return err
	}
	defer tpm.Close()
	contents, err := held.Read(tpm)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(contents)
}

func use(device string) error {
	tpm, err := linuxtpm.Open(device)
	if err != nil {
		return err
	}
	defer tpm.Close()
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHNull, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(tpm)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	// The key must have survived whatever others did with the TPM meanwhile.
	if _, err := (tpm2.ReadPublic{ObjectHandle: key.ObjectHandle}).Execute(tpm); err != nil {
		return fmt.Errorf("the key is gone: %w", err)
	}
	_, err = tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(tpm)
	return err
}

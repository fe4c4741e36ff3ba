package enroll

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// ViaImport marks an identity that came from a file.
const ViaImport = "import"

// maxIdentifyText bounds the output of one "tbot tpm identify".
const maxIdentifyText = 64 << 10

// ImportOptions of ImportRecords.
type ImportOptions struct {
	Host string    // whose identity it is, where the file does not say so
	Run  int64     // of the store
	Now  time.Time // zero: now
}

// ImportRecords records identities that were found without SSH: the text that "tbot tpm identify" or "identify -text"
// prints for one host (opts.Host says which), or JSON objects one after the other (also as one array), of the forms
//
//	{"host": "web-01", "ek_public_hash": "…", "ek_certificate_serial": "5e:cd", "ek_certificate": "base64 of DER"}
//
// which "identify -json" and "records export" print. Such identities are unproven: they are accepted only where
// none is. The results are one a host, in the order of the file; the error is of the file (ErrInput) or the records.
func ImportRecords(ctx context.Context, st store.Store, r io.Reader, opts ImportOptions) ([]Result, error) {
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	in := bufio.NewReader(r)
	first, err := firstByte(in)
	if err != nil {
		return nil, err
	}
	if first != '{' && first != '[' {
		entry, err := parseIdentifyText(in)
		if err != nil {
			return nil, err
		}
		result, err := importOne(ctx, st, entry, opts)
		return []Result{result}, err
	}
	var results []Result
	for entry, err := range importEntries(in) {
		if err != nil {
			return results, err
		}
		result, err := importOne(ctx, st, entry, opts)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	return results, nil
}

// firstByte looks at the first byte that is no space, and drops a byte order mark.
func firstByte(in *bufio.Reader) (byte, error) {
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, &InputError{Msg: "there is nothing to import", Hint: "the output of \"tbot tpm identify\" or \"identify -json\" is wanted"}
		}
		if err != nil {
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", b) < 0 {
			return b, in.UnreadByte()
		}
	}
}

// importEntry is one host of a file.
type importEntry struct {
	Host string `json:"host"`
	importIdentity
	Identity *importIdentity `json:"identity"` // where the identity is a part of its own
	Accepted *importIdentity `json:"accepted"` // as records are exported
	TPM      json.RawMessage `json:"properties"`
	Last     *struct {
		TPM json.RawMessage `json:"tpm"`
	} `json:"last"`
}

type importIdentity struct {
	EKHash   string `json:"ek_public_hash"`
	EKSerial string `json:"ek_certificate_serial"`
	EKPub    []byte `json:"ek_public"`
	EKCert   []byte `json:"ek_certificate"`
}

// importEntries reads objects, or one array of them, one at a time.
func importEntries(in io.Reader) func(yield func(importEntry, error) bool) {
	return func(yield func(importEntry, error) bool) {
		dec := json.NewDecoder(in)
		for n := 1; ; n++ {
			var raw json.RawMessage
			err := dec.Decode(&raw)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(importEntry{}, &InputError{Msg: fmt.Sprintf("object %d: %v", n, err)})
				return
			}
			if raw[0] == '[' && n == 1 {
				if !yieldArray(raw, yield) {
					return
				}
				continue
			}
			if !yieldEntry(raw, n, yield) {
				return
			}
		}
	}
}

func yieldArray(raw json.RawMessage, yield func(importEntry, error) bool) bool {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return yield(importEntry{}, &InputError{Msg: err.Error()})
	}
	for i, item := range list {
		if !yieldEntry(item, i+1, yield) {
			return false
		}
	}
	return true
}

func yieldEntry(raw json.RawMessage, n int, yield func(importEntry, error) bool) bool {
	var e importEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		yield(importEntry{}, &InputError{Msg: fmt.Sprintf("object %d: %v", n, err)})
		return false
	}
	return yield(e, nil)
}

// The lines of "tbot tpm identify": the first spelling of each is that of older versions.
var (
	textHash   = regexp.MustCompile(`(?m)^[ \t]*(?:EKPub Hash|EK Public Hash):[ \t]*(\S+)[ \t\r]*$`)
	textFound  = regexp.MustCompile(`(?m)^[ \t]*(?:EKCert Detected|EK Certificate Detected):[ \t]*(\S+)[ \t\r]*$`)
	textSerial = regexp.MustCompile(`(?m)^[ \t]*(?:EKCert Serial|EK Certificate Serial):[ \t]*(\S+)[ \t\r]*$`)
)

// parseIdentifyText reads what "tbot tpm identify" prints, of both versions.
func parseIdentifyText(r io.Reader) (e importEntry, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIdentifyText+1))
	if err != nil {
		return e, err
	}
	const hint = "the output of \"tbot tpm identify\" for one host, or JSON, is wanted"
	if len(text) > maxIdentifyText {
		return e, &InputError{Msg: "the text is too long for the output of \"tbot tpm identify\"", Hint: hint}
	}
	hashes := textHash.FindAllSubmatch(text, 2)
	if len(hashes) != 1 {
		return e, &InputError{Msg: fmt.Sprintf("there are %d lines with an EKPub hash, where one is wanted", len(hashes)), Hint: hint}
	}
	e.EKHash = strings.ToLower(string(hashes[0][1]))
	serial, found := textSerial.FindSubmatch(text), textFound.FindSubmatch(text)
	if serial != nil {
		e.EKSerial = strings.ToLower(string(serial[1]))
	}
	if found != nil && (string(found[1]) == "true") != (e.EKSerial != "") {
		return e, &InputError{Msg: "the text says both that there is an EK certificate and that there is none", Hint: hint}
	}
	return e, nil
}

// importOne records one identity. The error is of the records; what is wrong with the entry is in the result.
func importOne(ctx context.Context, st store.Store, e importEntry, opts ImportOptions) (Result, error) {
	r := Result{Host: firstOf(e.Host, opts.Host), Outcome: Failed, Status: "bad-input"}
	if r.Host == "" {
		r.Message = "the file does not say which host this is"
		r.Hint = "name it with --host"
		return r, nil
	}
	if e.Host != "" && opts.Host != "" && e.Host != opts.Host {
		r.Message = fmt.Sprintf("the file is of this host, not of %s", opts.Host)
		return r, nil
	}
	id, err := e.identity()
	if err != nil {
		r.Message = printable(err.Error())
		return r, nil
	}
	r.Outcome, r.Status, r.EKHash, r.Serial = OK, "unproven", id.EKHash, id.EKSerial
	verdict, err := st.Put(ctx, store.Observation{
		Host: r.Host, Run: opts.Run, At: opts.Now, Outcome: string(OK), Status: r.Status, Identity: id, TPM: e.details(),
	})
	if err != nil {
		return r, fmt.Errorf("records: %w", err)
	}
	r = judged(r, verdict)
	if len(verdict.Duplicates) > 0 && r.Outcome == OK {
		r.Outcome, r.Status = Failed, "duplicate-ek"
		r.Message = "has the same EK as " + strings.Join(verdict.Duplicates, ", ")
	}
	return r, nil
}

// details returns what the file says of the TPM, if it is an object.
func (e importEntry) details() json.RawMessage {
	details := e.TPM
	if details == nil && e.Last != nil {
		details = e.Last.TPM
	}
	var d tpmDetails
	if json.Unmarshal(details, &d) != nil {
		return nil
	}
	clean, err := json.Marshal(d) // what we know of it, and nothing else
	if err != nil {
		return nil
	}
	return clean
}

// identity checks that the parts of an entry belong together.
func (e importEntry) identity() (*store.Identity, error) {
	in := e.importIdentity
	for _, other := range []*importIdentity{e.Identity, e.Accepted} {
		if other != nil && in.EKHash == "" {
			in = *other
		}
	}
	id := &store.Identity{EKHash: in.EKHash, EKSerial: in.EKSerial, EKPub: in.EKPub, EKCert: in.EKCert, Via: ViaImport}
	if len(in.EKCert) > 0 {
		cert, err := x509.ParseCertificate(in.EKCert)
		if err != nil {
			return nil, fmt.Errorf("its EK certificate cannot be read, so tbot does not present it: %w", err)
		}
		if serial := tpm.Serial(cert.SerialNumber); in.EKSerial != "" && in.EKSerial != serial {
			return nil, fmt.Errorf("its EK certificate has serial %s, not %s", serial, in.EKSerial)
		}
		id.EKSerial = tpm.Serial(cert.SerialNumber)
		if id.EKPub, err = x509.MarshalPKIXPublicKey(cert.PublicKey); err != nil {
			return nil, fmt.Errorf("the key of its EK certificate cannot be used: %w", err)
		}
	}
	if len(id.EKPub) > 0 {
		sum := sha256.Sum256(id.EKPub)
		if hash := hex.EncodeToString(sum[:]); id.EKHash == "" {
			id.EKHash = hash
		} else if id.EKHash != hash {
			return nil, fmt.Errorf("its EKPub hash is %s, but that of the key it comes with is %s", id.EKHash, hash)
		}
	}
	switch {
	case !store.ValidEKHash(id.EKHash):
		return nil, fmt.Errorf("%q is no EKPub hash: it has 64 lower-case hex digits", id.EKHash)
	case id.EKSerial != "" && !serialFormat.MatchString(id.EKSerial):
		return nil, fmt.Errorf("%q is no EKCert serial: it has the form 5e:cd:5f:8e", id.EKSerial)
	}
	return id, nil
}

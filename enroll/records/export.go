package records

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
)

// Export writes every record, by host name and one at a time: as "jsonl", "json" (one array), "yaml" (one list)
// or "csv" (the accepted identity and what a TPM says of itself). Keys and certificates are base64 of DER. Binary and
// nested things are left out of CSV but for these.
func Export(ctx context.Context, st store.Store, w io.Writer, format string) error {
	out := bufio.NewWriterSize(w, 64<<10)
	sink, err := newRecordSink(out, format)
	if err != nil {
		return err
	}
	for r, err := range st.Records(ctx) {
		if err != nil {
			return err
		}
		if err := sink.write(r); err != nil {
			return err
		}
	}
	if err := sink.close(); err != nil {
		return err
	}
	return out.Flush()
}

// recordSink writes records in one format.
type recordSink struct {
	write func(store.Record) error
	close func() error
}

func newRecordSink(w *bufio.Writer, format string) (recordSink, error) {
	switch format {
	case "jsonl":
		enc := json.NewEncoder(w)
		return recordSink{func(r store.Record) error { return enc.Encode(r) }, func() error { return nil }}, nil
	case "json":
		return jsonArray(w), nil
	case "yaml":
		return yamlList(w), nil
	case "csv":
		return csvSink(w), nil
	}
	return recordSink{}, &outcome.InputError{
		Msg: fmt.Sprintf("records cannot be exported as %q", format), Hint: "jsonl, json, yaml or csv"}
}

func jsonArray(w *bufio.Writer) recordSink {
	begin := "[\n"
	return recordSink{
		write: func(r store.Record) error {
			data, err := json.Marshal(r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "%s%s", begin, data)
			begin = ",\n"
			return err
		},
		close: func() error {
			if begin == "[\n" {
				_, err := w.WriteString("[]\n")
				return err
			}
			_, err := w.WriteString("\n]\n")
			return err
		},
	}
}

// yamlList writes a record as a list of one, so that all of them are one list.
func yamlList(w *bufio.Writer) recordSink {
	empty := true
	return recordSink{
		write: func(r store.Record) error {
			empty = false
			data, err := json.Marshal([]store.Record{r})
			if err != nil {
				return err
			}
			var node yaml.Node
			if err := yaml.Unmarshal(data, &node); err != nil { // JSON is YAML; a node keeps the order of keys
				return err
			}
			block(&node)
			text, err := yaml.Marshal(&node)
			if err != nil {
				return err
			}
			_, err = w.Write(text)
			return err
		},
		close: func() error {
			if !empty {
				return nil
			}
			_, err := w.WriteString("[]\n")
			return err
		},
	}
}

// block makes YAML out of JSON's nodes: lists and mappings over several lines, keys without quotes.
func block(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Style = 0
		}
		block(c)
	}
}

var csvHeader = []string{
	"host", "state", "ek_public_hash", "ek_certificate_serial", "proven", "via", "pending_ek_public_hash", "token",
	"last_outcome", "last_status", "last_seen", "manufacturer", "vendor", "firmware", "spec_revision", "key_type",
	"ek_certificate_issuer", "ek_certificate_not_after", "tbot_version", "ek_certificate",
}

func csvSink(w *bufio.Writer) recordSink {
	out := csv.NewWriter(w)
	_ = out.Write(csvHeader) // errors are kept until Flush
	return recordSink{
		write: func(r store.Record) error { return out.Write(csvRow(r)) },
		close: func() error {
			out.Flush()
			return out.Error()
		},
	}
}

func csvRow(r store.Record) []string {
	v := viewOf(r, nil)
	d := v.TPM
	if d == nil {
		d = &tpm.Details{}
	}
	var cert, tbot string
	if r.Accepted != nil {
		cert = base64.StdEncoding.EncodeToString(r.Accepted.EKCert)
	}
	if r.Installed != nil {
		tbot = r.Installed.TbotVersion
	}
	return []string{
		CSVCell(v.Host), string(v.State), v.EKHash, v.EKSerial, strconv.FormatBool(v.Proven), v.Via, v.Pending, CSVCell(v.Token),
		v.Outcome, v.Status, csvTime(v.Seen), CSVCell(d.Manufacturer), CSVCell(d.Vendor), CSVCell(d.Firmware),
		CSVCell(d.SpecRevision), CSVCell(d.KeyType), CSVCell(d.EKCertIssuer), csvTime(d.EKCertNotAfter), CSVCell(tbot), cert,
	}
}

// CSVCell keeps a spreadsheet from reading a host's text as a formula (OWASP, "CSV Injection").
func CSVCell(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

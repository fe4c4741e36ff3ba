package main

import (
	"encoding/json"

	"fleetctl/enroll"
	"fleetctl/enroll/doctor"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/records"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// schema names the shapes of a command's documents for programs: docs/schemas has a JSON Schema for each name. A document begins
// with the member "schema", fleetctl/NAME/VERSION.
type schema struct {
	document string // NAME/VERSION of a document in JSON or YAML
	list     string // its member with the rows; "": it has none
	line     string // of a row as a JSON line
	end      string // of the last JSON line, which has what else the document has; "": there is no more
}

// shape is a schema of documents whose head has the members of H, and whose rows are R.
type shape[H, R any] schema

func (s shape[H, R]) schema() schema { return schema(s) }

// nothing is the head of documents that are nothing but their rows, and the row of those that have none.
type nothing struct{}

// The shapes. A version rises when a member goes, changes its type or its meaning, or is no longer always there; new members may
// come at any time.
var (
	hostsShape = shape[hostsHead, outcome.Result]{"hosts/v1", "hosts", "host/v1", "recap/v1"}

	statusShape = shape[enroll.StatusReport, enroll.HostStatus]{"status/v1", "hosts", "host-status/v1", "status-recap/v1"}

	tokensShape = shape[tokensHead, tokenRow]{"tokens/v1", "tokens", "token/v1", "tokens-recap/v1"}

	tokenChangesShape = shape[tokenChangesHead, token.Change]{"token-changes/v1", "tokens", "token-change/v1", "bot-changes/v1"}

	recordsShape = shape[nothing, records.View]{"records/v1", "records", "record/v1", ""}

	exportShape = shape[nothing, store.Record]{"export/v1", "records", "exported-record/v1", ""}

	issuersShape = shape[nothing, records.Issuer]{"issuers/v1", "issuers", "issuer/v1", ""}

	removedShape = shape[nothing, store.Machine]{"removed/v1", "machines", "removed-machine/v1", ""}

	runsShape = shape[nothing, store.Run]{"runs/v1", "runs", "run/v1", ""}

	historyShape = shape[nothing, store.Observation]{"history/v1", "observations", "observation/v1", ""}

	logShape = shape[nothing, store.Entry]{"log/v1", "log", "log-entry/v1", ""}

	acceptedShape = shape[nothing, records.Acceptance]{"accepted/v1", "hosts", "accepted-host/v1", ""}

	changedStatesShape = shape[nothing, records.StateChange]{"changed-states/v1", "machines", "changed-state/v1", ""}

	recoveryShape = shape[enroll.RecoverReport, enroll.RecoveredToken]{"recovery/v1", "tokens", "recovered-token/v1", "recovery-recap/v1"}

	inventoryShape = shape[nothing, inventoryRow]{"inventory/v1", "hosts", "inventory-host/v1", ""}

	settingsShape = shape[nothing, settingRow]{"ansible-settings/v1", "settings", "ansible-setting/v1", ""}

	whyShape = shape[nothing, whyRow]{"variable/v1", "places", "variable-place/v1", ""}

	knownHostsShape = shape[nothing, enroll.KnownHost]{"known-hosts/v1", "hosts", "known-host/v1", ""}

	statusesShape = shape[nothing, explanation]{"statuses/v1", "statuses", "status-meaning/v1", ""}

	checksShape = shape[nothing, doctor.Check]{"checks/v1", "checks", "check/v1", ""}

	versionShape = shape[build, nothing]{document: "version/v1", end: "version/v1"}
)

// reportSchema is that of the report, which has two lists.
const reportSchema = "report/v1"

// schemaName is the value of the member "schema".
func schemaName(name string) string { return "fleetctl/" + name }

// withSchema is an object as JSON that begins with the name of its schema.
func withSchema(name string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := append([]byte(`{"schema":"`+schemaName(name)+`"`), ',')
	if len(raw) == len("{}") {
		return append(out[:len(out)-1], '}'), nil
	}
	return append(out, raw[1:]...), nil
}

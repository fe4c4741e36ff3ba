package memcluster

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// document is one YAML document of a resource file.
type document struct {
	kind string
	json []byte
}

func documents(text string) ([]document, error) {
	var out []document
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var doc map[string]any
		err := dec.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, words{err.Error()}
		case doc == nil:
			continue
		}
		data, err := json.Marshal(doc)
		if err != nil {
			return nil, words{err.Error()}
		}
		kind, _ := doc["kind"].(string)
		out = append(out, document{kind: kind, json: data})
	}
}

type metadata struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Expires     *time.Time        `json:"expires,omitempty"`
	Revision    string            `json:"revision,omitempty"`
}

// token is a provision token, version v2, as far as the tpm method goes.
type token struct {
	Kind     string    `json:"kind"`
	Version  string    `json:"version"`
	Metadata metadata  `json:"metadata"`
	Spec     tokenSpec `json:"spec"`
}

type tokenSpec struct {
	Roles      []string `json:"roles"`
	JoinMethod string   `json:"join_method"`
	BotName    string   `json:"bot_name,omitempty"`
	TPM        *tpmSpec `json:"tpm,omitempty"`
	Allow      []any    `json:"allow,omitempty"` // of iam and others, which nobody here joins by
}

type tpmSpec struct {
	Allow []tpmRule `json:"allow"`
	CAs   []string  `json:"ekcert_allowed_cas,omitempty"`
}

type tpmRule struct {
	Description string `json:"description,omitempty"`
	Hash        string `json:"ek_public_hash,omitempty"`
	Serial      string `json:"ek_certificate_serial,omitempty"`
}

// botResource is a bot, version v1.
type botResource struct {
	Kind     string   `json:"kind"`
	SubKind  string   `json:"sub_kind,omitempty"`
	Version  string   `json:"version"`
	Metadata metadata `json:"metadata"`
	Spec     struct {
		Roles  []string `json:"roles"`
		Traits []any    `json:"traits,omitempty"`
	} `json:"spec"`
	Status any `json:"status,omitempty"`
}

// resourceName is what a part of the backend's keys may hold.
var resourceName = regexp.MustCompile(`^[0-9A-Za-z@_:.+-]+$`)

// decodeStrict refuses fields that the type does not know.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// parseToken checks a token as the server does. Up to 17 fields that it does not know are dropped without a word.
func (c *Cluster) parseToken(doc document) (*token, error) {
	t := &token{}
	decode := json.Unmarshal
	if Since(c.Version, "18.0.0") {
		decode = decodeStrict
	}
	if err := decode(doc.json, t); err != nil {
		return nil, words{err.Error()}
	}
	switch {
	case t.Version != "v2":
		return nil, words{fmt.Sprintf("resource version %q is not supported", t.Version)}
	case !resourceName.MatchString(t.Metadata.Name):
		return nil, words{"missing parameter Name or special characters in it"}
	case len(t.Spec.Roles) == 0:
		return nil, words{"provisioning token is missing roles"}
	case slices.Contains(t.Spec.Roles, "Bot") && t.Spec.BotName == "":
		return nil, words{`token with role "Bot" must set bot_name`}
	case slices.Contains([]string{"token", "iam"}, t.Spec.JoinMethod) && t.Spec.TPM == nil: // no host of ours joins by these
		return t, nil
	case t.Spec.JoinMethod != "tpm":
		return nil, fmt.Errorf("%w: join method %q", errUnscripted, t.Spec.JoinMethod)
	case c.OSS:
		return nil, words{"tpm joining", "this feature requires Teleport Enterprise"}
	}
	return t, c.checkTPM(t)
}

func (c *Cluster) checkTPM(t *token) error {
	const where = "validating spec.tpm"
	if t.Spec.TPM == nil || len(t.Spec.TPM.Allow) == 0 {
		return words{where, "allow: at least one rule must be set"}
	}
	for i, ca := range t.Spec.TPM.CAs {
		block, _ := pem.Decode([]byte(ca))
		switch {
		case block == nil:
			return words{where, fmt.Sprintf("ekcert_allowed_cas[%d]: no pem block found", i)}
		case block.Type != "CERTIFICATE":
			return words{where, fmt.Sprintf("ekcert_allowed_cas[%d]: pem block is not 'CERTIFICATE' type", i)}
		}
	}
	for i, r := range t.Spec.TPM.Allow {
		switch {
		case r.Hash == "" && r.Serial == "":
			return words{where, fmt.Sprintf("allow[%d]: at least one of ['ek_public_hash', 'ek_certificate_serial'] must be set", i)}
		case r.Hash == "" && len(t.Spec.TPM.CAs) == 0 && Since(c.Version, "18.10.1") && !c.knows(t.Metadata.Name, r):
			return words{where, fmt.Sprintf("allow[%d]: ek_certificate_serial needs ek_public_hash or ekcert_allowed_cas", i)}
		}
	}
	return nil
}

// knows says whether a token has a rule already: those that exist keep working.
func (c *Cluster) knows(name string, r tpmRule) bool {
	old := c.tokens[name]
	same := func(o tpmRule) bool { return o.Hash == r.Hash && o.Serial == r.Serial }
	return old != nil && old.Spec.TPM != nil && slices.ContainsFunc(old.Spec.TPM.Allow, same)
}

func parseBot(doc document) (*botResource, error) {
	b := &botResource{}
	if err := decodeStrict(doc.json, b); err != nil {
		return nil, words{"proto: " + err.Error()}
	}
	switch {
	case b.Version != "v1":
		return nil, words{fmt.Sprintf("unsupported bot version %q", b.Version)}
	case !resourceName.MatchString(b.Metadata.Name):
		return nil, words{"bot.metadata.name: must be non-empty and without special characters"}
	case slices.Contains(b.Spec.Roles, ""):
		return nil, words{"bot.spec.roles: must not contain empty strings"}
	}
	b.Status = map[string]string{"user_name": "bot-" + b.Metadata.Name, "role_name": "bot-" + b.Metadata.Name}
	return b, nil
}

// get prints resources as JSON: a list, however many there are.
func (c *Cluster) get(cmd Command) (string, error) {
	set, err := cmd.options("--format")
	if err != nil {
		return "", err
	}
	if set["--format"] != "json" {
		return "", fmt.Errorf("%w: a format other than json", errUnscripted)
	}
	list := []any{}
	kind, name, one := strings.Cut(operand(cmd.Args), "/")
	switch {
	case (kind == "token" || kind == "tokens" || kind == "bot" || kind == "bots") && c.MFA:
		return "", errMFA
	case kind == "token" && one, kind == "tokens" && one:
		if c.tokens[name] == nil {
			return "", noToken(name)
		}
		list = append(list, c.tokens[name])
	case kind == "token", kind == "tokens":
		for _, n := range slices.Sorted(maps.Keys(c.tokens)) {
			list = append(list, c.tokens[n])
		}
	case kind == "bot" && one, kind == "bots" && one:
		if c.bots[name] == nil {
			return "", noBot(name)
		}
		list = append(list, c.bots[name])
	case kind == "bot", kind == "bots":
		for _, n := range slices.Sorted(maps.Keys(c.bots)) {
			list = append(list, c.bots[n])
		}
	case (kind == "bot_instance" || kind == "bot_instances") && !strings.Contains(name, "/"):
		if !Since(c.Version, "16.4.6") {
			return "", words{fmt.Sprintf("getting %q is not supported", kind)}
		}
		for _, i := range c.instances { // of one bot, where one is named, and whether or not there is such a bot
			if !one || i.bot == name {
				list = append(list, i.resource(c.Version))
			}
		}
	default:
		return "", errUnscripted
	}
	data, err := json.MarshalIndent(list, "", "    ")
	if err != nil {
		return "", fmt.Errorf("enrolltest: %w", err)
	}
	return string(data) + "\n", nil
}

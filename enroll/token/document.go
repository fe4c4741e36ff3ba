package token

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"fleetctl/enroll/config"
	"fleetctl/remote"
)

// The documents as Teleport reads them: provision token version v2 and bot version v1 (facts of the tpm join method;
// Teleport's resource reference). Their order of fields is the order in the files.
type (
	document struct {
		Kind     string   `yaml:"kind" json:"kind"`
		Version  string   `yaml:"version" json:"version"`
		Metadata metadata `yaml:"metadata" json:"metadata"`
		Spec     spec     `yaml:"spec" json:"spec"`
	}
	metadata struct {
		Name   string            `yaml:"name" json:"name"`
		Labels map[string]quoted `yaml:"labels,omitempty" json:"labels,omitempty"`
	}
	spec struct {
		Roles      []string `yaml:"roles,flow" json:"roles"`
		JoinMethod string   `yaml:"join_method" json:"join_method"`
		BotName    string   `yaml:"bot_name,omitempty" json:"bot_name,omitempty"`
		TPM        tpmSpec  `yaml:"tpm" json:"tpm"`
	}
	tpmSpec struct {
		EKCertAllowedCAs []string    `yaml:"ekcert_allowed_cas,omitempty" json:"ekcert_allowed_cas,omitempty"`
		Allow            []allowRule `yaml:"allow" json:"allow"`
	}
	allowRule struct {
		Description         quoted `yaml:"description,omitempty" json:"description,omitempty"`
		EKPublicHash        quoted `yaml:"ek_public_hash,omitempty" json:"ek_public_hash,omitempty"`
		EKCertificateSerial quoted `yaml:"ek_certificate_serial,omitempty" json:"ek_certificate_serial,omitempty"`

		why string // a comment
	}
	botDocument struct {
		Kind     string   `yaml:"kind" json:"kind"`
		Version  string   `yaml:"version" json:"version"`
		Metadata metadata `yaml:"metadata" json:"metadata"`
		Spec     botSpec  `yaml:"spec" json:"spec"`
	}
	botSpec struct {
		Roles []string `yaml:"roles" json:"roles"`
	}
)

// quoted is a string that stands in double quotes in YAML, always: 12:34 is a number to readers of YAML 1.1, and so is
// a hash without letters.
type quoted string

// MarshalYAML makes a double-quoted scalar.
func (q quoted) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: string(q)}, nil
}

// MarshalYAML adds the comment of a rule that stays for a while. There may be 100,000 rules: they are no matter of reflection.
func (r allowRule) MarshalYAML() (any, error) {
	node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", HeadComment: r.why}
	for _, field := range []struct {
		name  string
		value quoted
	}{
		{"description", r.Description}, {"ek_public_hash", r.EKPublicHash}, {"ek_certificate_serial", r.EKCertificateSerial},
	} {
		if field.value != "" {
			node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: field.name},
				&yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: string(field.value)})
		}
	}
	return node, nil
}

// why is what a file says of a rule that its token is not planned to have.
func (r Rule) why() string {
	switch {
	case !r.Kept:
		return ""
	case r.Until == "":
		return "# kept: " + clean(r.Host) + " may be configured with this token, and has no other"
	}
	return "# kept until " + clean(r.Host) + " has joined with " + r.Until
}

const joinMethodTPM = "tpm"

func documentOf(t Token) document {
	d := document{
		Kind: "token", Version: "v2", Metadata: metadata{Name: t.Name, Labels: quotedValues(t.labels(fileWrite(t.digest)))},
		Spec: spec{
			Roles: rolesOf(t.Kind), JoinMethod: joinMethodTPM, BotName: t.Bot,
			TPM: tpmSpec{EKCertAllowedCAs: t.CAs, Allow: make([]allowRule, len(t.Rules))},
		},
	}
	for i, r := range t.Rules {
		d.Spec.TPM.Allow[i] = allowRuleOf(r)
	}
	return d
}

func rolesOf(kind string) []string {
	if kind == KindNode {
		return []string{"Node"}
	}
	return []string{"Bot"}
}

func quotedValues(labels map[string]string) map[string]quoted {
	if labels == nil {
		return nil
	}
	all := make(map[string]quoted, len(labels))
	for key, value := range labels {
		all[key] = quoted(value)
	}
	return all
}

func allowRuleOf(r Rule) allowRule {
	return allowRule{
		Description: quoted(r.Description), EKPublicHash: quoted(r.EKHash), EKCertificateSerial: quoted(r.EKSerial), why: r.why(),
	}
}

func botDocumentOf(b Bot) botDocument {
	return botDocument{Kind: "bot", Version: "v1", Metadata: metadata{Name: b.Name}, Spec: botSpec{Roles: b.Roles}}
}

// headerMark begins every file of ours, so that we know them again.
const headerMark = "# Made by fleetctl"

const header = headerMark + " from its records: the next run writes it anew, so don't edit it.\n"

// YAML returns the token as a file for "tctl create -f".
func (t Token) YAML() ([]byte, error) {
	intro := header + "# Apply with: tctl create -f " + t.Name + ".yaml (or: fleetctl tokens --apply)\n" +
		"# That replaces the whole token: a rule that is not here is revoked.\n"
	if t.Kind == KindNode {
		intro += "# /etc/teleport.yaml of its hosts:\n#   teleport:\n" +
			"#     join_params: {method: tpm, token_name: " + t.Name + "}\n"
	}
	return marshalYAML(intro, documentOf(t))
}

// YAML returns the bot as a file for "tctl create".
func (b Bot) YAML() ([]byte, error) {
	intro := header + "# Create with: tctl create FILE. With -f it overwrites the roles of a bot that exists.\n"
	return marshalYAML(intro, botDocumentOf(b))
}

func marshalYAML(intro string, doc any) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(intro)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// describe gives every rule its description: the host's name, cleaned. A name that cleaning changed gets the first
// digits of its hash, so that descriptions stay unique and no host's arrival changes another's.
func describe(all []candidate) {
	used := make(map[string]bool, len(all))
	for i := range all {
		if clean(all[i].host) == all[i].host {
			all[i].rule.Description = all[i].host
			used[all[i].host] = true
		}
	}
	for i := range all {
		r := &all[i].rule
		if r.Description != "" {
			continue
		}
		r.Description = fmt.Sprintf("%s [%s]", clean(all[i].host), r.EKHash[:12])
		for n := 2; used[r.Description]; n++ {
			r.Description = fmt.Sprintf("%s [%s %d]", clean(all[i].host), r.EKHash[:12], n)
		}
		used[r.Description] = true
	}
}

// clean makes a name fit for a line in a file and on a terminal: no control or invisible characters, no bytes that
// are not UTF-8, no space around it, and not longer than needed.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if letter := "a" + string(r); r == utf8.RuneError || remote.Escape(letter) != letter { // it doesn't show
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	name = strings.TrimSpace(name)
	for len(name) > config.MaxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	if name == "" {
		return "_"
	}
	return name
}

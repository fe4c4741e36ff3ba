package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protojson"
	"gopkg.in/yaml.v3"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
)

// Kinds of resources that the stand-in knows.
const (
	KindToken       = types.KindToken
	KindBot         = types.KindBot
	KindBotInstance = types.KindBotInstance
)

// Resource is one document of a resource file: exactly one field is set.
type Resource struct {
	Token *types.ProvisionTokenV2
	Bot   *machineidv1.Bot
}

// Kind of the resource: "token" or "bot".
func (r Resource) Kind() string {
	if r.Token != nil {
		return KindToken
	}
	return KindBot
}

// Name of the resource.
func (r Resource) Name() string {
	if r.Token != nil {
		return r.Token.Metadata.Name
	}
	return r.Bot.GetMetadata().GetName()
}

// Decoder reads resources from a stream of YAML documents, one at a time, so that what stands before a broken
// document can be applied, as tctl does.
type Decoder struct {
	// Lax drops fields of tokens that Teleport's types do not know without a word, as tctl does up to 17. Those of bots
	// are errors in every version (versions.md, E).
	Lax  bool
	yaml *yaml.Decoder
}

// NewDecoder reads YAML (or JSON) documents from r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{yaml: yaml.NewDecoder(r)} }

// Next returns the next resource, checked, or io.EOF. Fields that Teleport's types do not know are errors.
func (d *Decoder) Next() (Resource, error) {
	var doc map[string]any
	for doc == nil { // empty documents are skipped
		if err := d.yaml.Decode(&doc); err != nil {
			return Resource{}, err
		}
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return Resource{}, err
	}
	switch kind, _ := doc["kind"].(string); kind {
	case KindToken:
		token, err := parseToken(data, d.Lax)
		return Resource{Token: token}, err
	case KindBot:
		bot, err := ParseBot(data)
		return Resource{Bot: bot}, err
	default:
		return Resource{}, cli.Unscripted("tctl create of a resource of kind %q", kind)
	}
}

// ParseTokens reads a file of YAML documents and returns the tokens in it. Any other kind but a bot is an error.
func ParseTokens(data []byte) ([]*types.ProvisionTokenV2, error) {
	var tokens []*types.ProvisionTokenV2
	for dec := NewDecoder(bytes.NewReader(data)); ; {
		r, err := dec.Next()
		if errors.Is(err, io.EOF) {
			return tokens, nil
		}
		if err != nil {
			return nil, err
		}
		if r.Token != nil {
			tokens = append(tokens, r.Token)
		}
	}
}

// ParseToken decodes a provision token from JSON, unknown fields rejected, and runs the server's checks.
func ParseToken(data []byte) (*types.ProvisionTokenV2, error) { return parseToken(data, false) }

func parseToken(data []byte, lax bool) (*types.ProvisionTokenV2, error) {
	var token types.ProvisionTokenV2
	dec := json.NewDecoder(bytes.NewReader(data))
	if !lax {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&token); err != nil {
		return nil, fmt.Errorf("parsing token: %w", err)
	}
	if token.Version != types.V2 {
		return nil, fmt.Errorf("unknown token version %q", token.Version)
	}
	if err := CheckToken(&token); err != nil {
		return nil, err
	}
	return &token, nil
}

// keyName is what the cluster's backends take as a part of a key.
var keyName = regexp.MustCompile(`^[0-9A-Za-z@_:.+-]+$`)

// CheckToken runs Teleport's CheckAndSetDefaults and what the server checks beyond it.
func CheckToken(token *types.ProvisionTokenV2) error {
	if err := token.CheckAndSetDefaults(); err != nil {
		return err
	}
	if !keyName.MatchString(token.Metadata.Name) {
		return fmt.Errorf("invalid key %q: special characters are not allowed in resource names", token.Metadata.Name)
	}
	return nil
}

// checkNewRules refuses what servers from 18.10.1 on refuse in rules that the token did not have before: a serial number
// alone, with neither a hash nor CAs to vouch for it (versions.md, F: #67960, #68826; the words are ours, see I). old is
// nil for a new token.
func (s Server) checkNewRules(token, old *types.ProvisionTokenV2) error {
	if token.Spec.TPM == nil || len(token.Spec.TPM.EKCertAllowedCAs) > 0 ||
		versions.Has("server.serial_only_rule_creatable", s.V()) {
		return nil
	}
	for i, rule := range token.Spec.TPM.Allow {
		known := old != nil && old.Spec.TPM != nil && slices.ContainsFunc(old.Spec.TPM.Allow,
			func(r *types.ProvisionTokenSpecV2TPM_Rule) bool {
				return r.EKPublicHash == rule.EKPublicHash && r.EKCertificateSerial == rule.EKCertificateSerial
			})
		if rule.EKPublicHash == "" && !known {
			return fmt.Errorf("spec.tpm.allow[%d]: ek_certificate_serial needs ek_public_hash or ekcert_allowed_cas", i)
		}
	}
	return nil
}

// ParseBot decodes a bot from JSON, unknown fields rejected, and checks it.
func ParseBot(data []byte) (*machineidv1.Bot, error) {
	var bot machineidv1.Bot
	if err := protojson.Unmarshal(data, &bot); err != nil {
		return nil, fmt.Errorf("parsing bot: %w", err)
	}
	switch {
	case bot.Version != types.V1:
		return nil, fmt.Errorf("unknown bot version %q", bot.Version)
	case bot.GetMetadata().GetName() == "":
		return nil, errors.New("bot.metadata.name: must be non-empty")
	case !keyName.MatchString(bot.Metadata.Name):
		return nil, fmt.Errorf("invalid key %q: special characters are not allowed in resource names", bot.Metadata.Name)
	case bot.Spec == nil:
		return nil, errors.New("bot.spec: must be non-nil")
	case slices.Contains(bot.Spec.Roles, ""):
		return nil, errors.New("spec.roles: must not contain empty strings")
	}
	for i, trait := range bot.Spec.Traits {
		if trait.Name == "" {
			return nil, fmt.Errorf("spec.traits[%d].name: must be non-empty", i)
		}
	}
	bot.Status = &machineidv1.BotStatus{UserName: "bot-" + bot.Metadata.Name, RoleName: "bot-" + bot.Metadata.Name}
	return &bot, nil
}

// expired tells whether a token can no longer be used.
func expired(token *types.ProvisionTokenV2, now time.Time) bool {
	return token.Metadata.Expires != nil && token.Metadata.Expires.Before(now)
}

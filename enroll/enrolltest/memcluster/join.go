package memcluster

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// JoinRequest is what tbot presents.
type JoinRequest struct {
	Host   string // the host name that it says
	EKHash string // lower-case hex, 64 digits
	Serial string // of the EK certificate, as Teleport writes it; "" without one
	Cert   []byte // the EK certificate, DER; nil without one
	Token  string
	Tbot   string // its version
}

// instance is a bot instance: one TPM that joins as one bot.
type instance struct {
	id, bot, hash, serial string
	joins                 []joined
}

type joined struct {
	at    time.Time
	token string
	host  string
	tbot  string
	cas   bool // the certificate was checked
}

// Join judges a join as the auth service does, and records it. The error's lines are what tbot repeats.
func (c *Cluster) Join(r JoinRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.judge(r); err != nil {
		return err
	}
	t := c.tokens[r.Token]
	i := c.instanceOf(t.Spec.BotName, r)
	if slices.Contains(c.locks, i.id) {
		return fmt.Errorf("lock targeting BotInstanceID:%q is in force", i.id)
	}
	i.joins = append(i.joins, joined{at: c.fine(), token: r.Token, host: r.Host, tbot: r.Tbot, cas: len(t.Spec.TPM.CAs) > 0})
	return nil
}

// fine is the time as a server notes it, a google.protobuf.Timestamp with nanoseconds (samples of bot_instance, 17.5.0): finer
// than records keep.
func (c *Cluster) fine() time.Time {
	return c.Now().UTC().Truncate(time.Microsecond).Add(789 * time.Nanosecond)
}

// Admits judges a join that nobody asks for: nothing is recorded.
func (c *Cluster) Admits(r JoinRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.judge(r)
}

func (c *Cluster) judge(r JoinRequest) error {
	t := c.tokens[r.Token]
	if t == nil || t.Metadata.Expires != nil && t.Metadata.Expires.Before(c.Now()) {
		return fmt.Errorf("%q can not join the cluster with role \"Bot\", token expired or not found", r.Host)
	}
	if t.Spec.TPM == nil {
		return fmt.Errorf("join method mismatch: token is %q", t.Spec.JoinMethod)
	}
	if c.OSS {
		return errors.New("tpm joining\n\tthis feature requires Teleport Enterprise")
	}
	if err := c.checkCert(t, r.Cert); err != nil {
		return err
	}
	if !slices.ContainsFunc(t.Spec.TPM.Allow, func(rule tpmRule) bool { return rule.fits(r) }) {
		return errors.New("validated tpm attributes did not match any allow rules")
	}
	user := "bot-" + t.Spec.BotName
	switch {
	case c.bots[t.Spec.BotName] == nil:
		return fmt.Errorf("user %q not found", user)
	case slices.Contains(c.locks, user):
		return fmt.Errorf("lock targeting User:%q is in force", user)
	}
	return nil
}

// fits compares byte by byte, as the server does.
func (rule tpmRule) fits(r JoinRequest) bool {
	return (rule.Hash == "" || rule.Hash == r.EKHash) && (rule.Serial == "" || rule.Serial == r.Serial)
}

// checkCert checks an EK certificate against the token's CAs: roots alone, any key usage.
func (c *Cluster) checkCert(t *token, der []byte) error {
	if len(t.Spec.TPM.CAs) == 0 {
		return nil
	}
	if len(der) == 0 {
		return c.ekError("tpm did not provide an EKCert to validate against allowed CAs")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return c.ekError("parsing EK cert: " + err.Error())
	}
	pool := x509.NewCertPool()
	for _, text := range t.Spec.TPM.CAs {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			if ca, err := x509.ParseCertificate(block.Bytes); err == nil {
				pool.AddCert(ca)
			}
		}
	}
	san := asn1.ObjectIdentifier{2, 5, 29, 17} // tolerated, though critical
	cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, san.Equal)
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: c.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		if Since(c.Version, "18.5.0") {
			return errors.New("validating TPM: verifying EK cert\nverifying EK cert\n\t" + err.Error())
		}
		return errors.New("validating TPM EK\n\tverifying EK cert\n\t\tverifying EK cert\n\t\t\t" + err.Error())
	}
	return nil
}

func (c *Cluster) ekError(cause string) error {
	if Since(c.Version, "18.5.0") {
		return errors.New("validating TPM: verifying EK cert\n\t" + cause)
	}
	return errors.New("validating TPM EK\n\tverifying EK cert\n\t\t" + cause)
}

func (c *Cluster) instanceOf(bot string, r JoinRequest) *instance {
	for _, i := range c.instances {
		if i.bot == bot && i.hash == r.EKHash {
			return i
		}
	}
	sum := hex.EncodeToString(sum16(bot + r.EKHash))
	i := &instance{
		id:  fmt.Sprintf("%s-%s-4%s-8%s-%s", sum[:8], sum[8:12], sum[13:16], sum[17:20], sum[20:]),
		bot: bot, hash: r.EKHash, serial: r.Serial,
	}
	c.instances = append(c.instances, i)
	return i
}

func sum16(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:16]
}

// Joins is how often a TPM joined.
func (c *Cluster) Joins(ekHash string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, i := range c.instances {
		if i.hash == ekHash {
			n += len(i.joins)
		}
	}
	return n
}

// Rules are the EKPub hashes that a token lets in, in its order; nil where there is no such token.
func (c *Cluster) Rules(token string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tokens[token]
	if t == nil {
		return nil
	}
	out := []string{}
	if t.Spec.TPM == nil {
		return out
	}
	for _, r := range t.Spec.TPM.Allow {
		out = append(out, r.Hash)
	}
	return out
}

// Tokens are the names of all tokens, in order.
func (c *Cluster) Tokens() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.tokens))
}

// shownJoins is how many authentications the auth service keeps of an instance.
const shownJoins = 10

// resource is an instance as tctl prints it: the shape of its times and attributes depends on the version.
func (i *instance) resource(version string) any {
	type object = map[string]any
	stamp := func(t time.Time) any {
		if Since(version, "17.5.1") {
			return t.Format("2006-01-02T15:04:05.999999999Z07:00")
		}
		return object{"seconds": t.Unix(), "nanos": t.Nanosecond()}
	}
	var all []any
	for n, j := range i.joins {
		a := object{
			"authenticated_at": stamp(j.at), "join_method": "tpm", "join_token": j.token, "generation": n + 1,
			"public_key": "LS0tLS1CRUdJTg==",
		}
		if Since(version, "17.2.0") {
			attrs := object{"ek_pub_hash": i.hash, "ek_cert_verified": j.cas}
			if i.serial != "" {
				attrs["ek_cert_serial"] = i.serial
			}
			a["join_attrs"] = object{"meta": object{"join_token_name": j.token, "join_method": "tpm"}, "tpm": attrs}
		}
		all = append(all, a)
	}
	last := i.joins[len(i.joins)-1]
	beat := object{
		"recorded_at": stamp(last.at), "is_startup": true, "version": last.tbot, "hostname": strings.TrimSpace(last.host),
		"join_method": "tpm", "architecture": "amd64", "os": "linux",
	}
	return object{
		"kind": "bot_instance", "version": "v1", "metadata": object{"name": i.id},
		"spec": object{"bot_name": i.bot, "instance_id": i.id},
		"status": object{
			"initial_authentication": all[0], "latest_authentications": all[max(0, len(all)-shownJoins):],
			"initial_heartbeat": beat, "latest_heartbeats": []any{beat},
		},
	}
}

package enrolltest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
)

// identity is the file that stands for what a real tbot keeps of its identity: the token that it joined with.
const identity = "tlscert"

func (b *bot) join() (int, string) {
	token, _ := b.config.Onboarding["token"].(string)
	stored := path.Join(b.storage(), identity)
	old := b.s.Files[stored]
	err := b.ask(token)
	if err == nil {
		b.s.Service.joined = true
		b.s.Files[stored] = &File{
			Kind: Regular, Mode: 0o600, Owner: b.unit.user, Group: b.s.groupsOf(b.unit.user)[0], Content: []byte(token),
		}
		b.joinedLine()
		return 0, ""
	}
	if old != nil && string(old.Content) == token && memcluster.Since(b.version, "17.5.3", "18.0.1") {
		b.degraded(err)
		return 0, ""
	}
	if memcluster.Numbers(b.version)[0] < 16 {
		return b.fatal(err.Error())
	}
	b.info("Fetching bot identity using token identity/service.go:540")
	return b.fatal("joining with token", err.Error())
}

// degraded is a tbot that goes on with the identity that it has.
func (b *bot) degraded(cause error) {
	b.log(b.now().UTC().Format(time.RFC3339) + " ERRO [TBOT:IDEN] Failed to renew bot identity. " +
		"Will attempt to proceed with the old identity, API calls may fail error:[\nERROR REPORT:\n" +
		"Original Error: *interceptors.RemoteError " + cause.Error() + "\nStack Trace:\n" +
		"\t/go/src/github.com/gravitational/teleport/lib/tbot/x.go:1 tbot.X\n" +
		"User Message: renewing identity using Register with existing auth client\n\t" + cause.Error() + "] identity/service.go:272\n")
	b.info("Unable to renew bot identity on startup. Waiting to retry wait:1.3s identity/service.go:345")
}

// ask opens the TPM as tbot's user and asks the cluster.
func (b *bot) ask(token string) error {
	st := &b.s
	f := st.Files[st.Device]
	switch {
	case f == nil || !st.Sysfs || st.TPM12 || b.TPM == nil:
		return fmt.Errorf("TPM device not available")
	case !st.may(b.unit.user, f, 6, append(slices.Clone(b.unit.more), b.unit.group)...):
		return fmt.Errorf("open %s: permission denied", st.Device)
	case b.TPM.Err != nil:
		return fmt.Errorf("open %s: %w", st.Device, b.TPM.Err)
	case b.Cluster == nil:
		b.failf("tbot asks a cluster: Host.Cluster is not set")
		return fmt.Errorf("failed direct dial to auth server")
	case b.TPM.Claims != nil:
		return fmt.Errorf("validating TPM EK\n\tinvalid credential activation solution")
	}
	r := memcluster.JoinRequest{Host: b.Name, EKHash: b.TPM.EKHash(), Cert: b.TPM.Cert, Token: token, Tbot: b.version}
	if cert, err := x509.ParseCertificate(b.TPM.Cert); err == nil {
		r.Serial = softtpm.SerialOf(cert)
	}
	return b.Cluster.Join(r)
}

func (b *bot) joinedLine() {
	stop := ""
	if !memcluster.Since(b.version, "16.1.0") {
		stop = "."
	}
	now := b.now().UTC()
	b.info("Fetched new bot identity%s identity:%s, id=0b9d4c1e-8a53-4c55-9c46-2c6f0e1a7d11 | valid: after=%s, before=%s, "+
		"duration=1h1m0s | kind=tls, renewable=false, disallow-reissue=false, roles=[bot], "+
		"principals=[-teleport-internal-join], generation=1 identity/service.go:281",
		stop, b.Name, now.Format(time.RFC3339), now.Add(61*time.Minute).Format(time.RFC3339))
}

// output writes what a service has to write to its directory, and says why it could not: that does not end tbot.
func (b *bot) output(service map[string]any) string {
	to, _ := service["destination"].(map[string]any)
	dir, _ := to["path"].(string)
	if to["type"] != "directory" || dir == "" {
		return ""
	}
	user, name := b.unit.user, path.Join(dir, "identity")
	if _, _, err := b.s.follow(user, dir); errors.Is(err, errNoEntry) {
		_ = b.s.create(user, dir, File{Kind: Dir, Mode: 0o700}) // what it could not make, the write says
	}
	if err := b.s.write(user, name, []byte("an identity\n"), false, 0o077); err != nil {
		why := "generating identity\n\topen " + name + ": " + lowerFirst(err.Error())
		b.log(memcluster.Red + why + "\n")
		return why
	}
	return ""
}

// listen begins to answer at diag_addr, and does what the services have to do.
func (b *bot) listen() {
	v := &b.s.Service
	v.Diag, v.health = b.config.Diag, memcluster.Since(b.version, "17.5.4", "18.0.2")
	for i, service := range append(slices.Clone(b.config.Services), b.config.Outputs...) {
		if !v.joined {
			break
		}
		if why := b.output(service); why != "" {
			if v.Unhealthy == nil {
				v.Unhealthy = map[string]string{}
			}
			v.Unhealthy[fmt.Sprintf("%v-output-%d", service["type"], i+1)] = why
		}
	}
}

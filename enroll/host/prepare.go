package host

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// The installer that the guide uses. It takes a version and an edition.
const defaultInstaller = "https://cdn.teleport.dev/install.sh"

// Limits of what is read over HTTPS here.
const (
	maxReply    = 1 << 20
	httpTimeout = 20 * time.Second
)

// preparer makes an installer; it keeps what it unpacks in dir.
type preparer struct {
	client *http.Client // nil: the default one
	dir    string       // a temporary directory that the caller removes
}

// Prepare reads what a tbot.install names, so that whatever is wrong with it is known before any host is touched. What is
// unpacked or downloaded is kept in dir, which the caller removes after the run. The result is nil for "none"; a nil client
// is the default one.
func Prepare(
	ctx context.Context, client *http.Client, dir string, in config.Install, cluster config.Cluster,
) (*Installer, error) {
	p := preparer{client: client, dir: dir}
	out := &Installer{
		from: in.From, version: strings.TrimPrefix(in.Version, "v"), proxy: in.Proxy,
		downloads: &downloads{client: client, dir: dir},
	}
	var err error
	switch in.From {
	case "", installNone:
		return nil, nil
	case installFile:
		err = p.files(in, out)
	case installURL:
		err = p.urls(in, out)
	case installScript:
		err = p.script(ctx, in, cluster, out)
	default:
		err = fmt.Errorf("from: %q is none of none, file, url, script", in.From)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: tbot.install: %w", outcome.ErrInput, err)
	}
	return out, nil
}

// kindOf tells what a file name ends in.
func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		return kindTarball
	case strings.HasSuffix(name, ".deb"):
		return kindDeb
	case strings.HasSuffix(name, ".rpm"):
		return kindRPM
	}
	return kindBinary
}

func (o *Installer) setVersion(from string) {
	if m := versions.VersionIn.FindStringSubmatch(strings.NewReplacer("_", " ", "-v", " v").Replace(from)); m != nil {
		o.version = cmp.Or(o.version, m[1])
	}
}

func knownArch(arch string) error {
	if !slices.Contains(remote.Architectures(), arch) {
		return fmt.Errorf("%q is no architecture: %s", arch, strings.Join(remote.Architectures(), ", "))
	}
	return nil
}

func (p preparer) files(in config.Install, out *Installer) error {
	if len(in.Files) == 0 {
		return errors.New("from: file needs files: {amd64: PATH}")
	}
	out.byArch = map[string]*release{}
	for _, arch := range slices.Sorted(maps.Keys(in.Files)) {
		if err := knownArch(arch); err != nil {
			return err
		}
		pkg, err := p.file(in.Files[arch], arch, out)
		if err != nil {
			return fmt.Errorf("files: %s: %w", arch, err)
		}
		if want := in.SHA256[arch]; want != "" {
			if err := checkSum(in.Files[arch], want); err != nil {
				return fmt.Errorf("files: %s: %w", arch, err)
			}
		}
		out.byArch[arch] = pkg
	}
	return nil
}

// file makes a package of a local file. From a tarball tbot is taken out here, so that only it is pushed.
func (p preparer) file(name, arch string, out *Installer) (*release, error) {
	pkg := &release{kind: kindOf(name), local: name}
	if pkg.kind == kindTarball {
		local, version, err := p.untar(name, arch)
		if err != nil {
			return nil, err
		}
		pkg.kind, pkg.local = kindBinary, local
		out.version = cmp.Or(out.version, version)
	}
	out.setVersion(filepath.Base(name))
	if (pkg.kind == kindDeb || pkg.kind == kindRPM) && out.version == "" {
		return nil, fmt.Errorf("%s: its name has no version: set tbot.install.version", name)
	}
	if pkg.kind == kindBinary {
		if err := checkELF(pkg.local, arch); err != nil {
			return nil, err
		}
	}
	var err error
	pkg.sha256, pkg.size, err = sumFile(pkg.local)
	return pkg, err
}

func sumFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // only read
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

func checkSum(name, want string) error {
	got, _, err := sumFile(name)
	if err == nil && got != strings.ToLower(want) {
		err = fmt.Errorf("%s has SHA-256 %s, not %s", name, got, want)
	}
	return err
}

// machines are ELF's names of the architectures.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM, "386": elf.EM_386,
	"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390,
}

// checkELF refuses a program for another architecture. A script is taken as it is.
func checkELF(name, arch string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil {
		return fmt.Errorf("%s: is no program: %w", name, err)
	}
	if bytes.HasPrefix(magic, []byte("#!")) {
		return nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("%s: is neither a .tar.gz, .deb, .rpm nor a Linux program: %w", name, err)
	}
	if e.Machine != machines[arch] {
		return fmt.Errorf("%s: is for %s, not for %s", name, e.Machine, arch)
	}
	return nil
}

// untar takes tbot out of a release tarball, and its version where the tarball says it.
func (p preparer) untar(name, arch string) (local, version string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", "", err
	}
	defer f.Close() // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", name, err)
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case h.Typeflag == tar.TypeReg && path.Base(h.Name) == "VERSION":
			raw, err := io.ReadAll(io.LimitReader(t, 100))
			if err != nil {
				return "", "", fmt.Errorf("%s: %w", name, err)
			}
			version = strings.TrimPrefix(strings.TrimSpace(string(raw)), "v")
		case h.Typeflag == tar.TypeReg && path.Base(h.Name) == "tbot":
			local = filepath.Join(p.dir, "tbot-"+arch)
			if err := saveFile(local, t); err != nil {
				return "", "", err
			}
		}
		if local != "" && version != "" {
			break
		}
	}
	if local == "" {
		return "", "", fmt.Errorf("%s: holds no tbot", name)
	}
	return local, version, nil
}

func saveFile(name string, r io.Reader) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// urls makes packages of a URL with {version} and {arch} in it; a checksum for each architecture is a must.
func (p preparer) urls(in config.Install, out *Installer) error {
	if !strings.HasPrefix(in.URL, "https://") && !strings.HasPrefix(in.URL, "http://") {
		return fmt.Errorf("url: %q is no http or https URL", in.URL)
	}
	if len(in.SHA256) == 0 {
		return errors.New("from: url needs sha256: {amd64: 64 hex digits}: nothing else says that the mirror serves what you mean")
	}
	if strings.Contains(in.URL, "{version}") && out.version == "" {
		return errors.New("url: holds {version}, and no version is given")
	}
	out.byArch = map[string]*release{}
	for _, arch := range slices.Sorted(maps.Keys(in.SHA256)) {
		if err := knownArch(arch); err != nil {
			return err
		}
		sum := strings.ToLower(in.SHA256[arch])
		if !sha256Hex.MatchString(sum) {
			return fmt.Errorf("sha256: %s: %q is not 64 hex digits", arch, in.SHA256[arch])
		}
		if len(in.SHA256) > 1 && !strings.Contains(in.URL, "{arch}") {
			return errors.New("url: needs {arch}, since there are several architectures")
		}
		url := strings.NewReplacer("{version}", out.version, "{arch}", arch).Replace(in.URL)
		out.setVersion(path.Base(url))
		out.byArch[arch] = &release{kind: kindOf(url), url: url, sha256: sum}
	}
	if out.version == "" {
		return errors.New("version: is needed: the URL doesn't say which one it serves")
	}
	return nil
}

// script fetches the installer and, where no version is given, asks the cluster for the one that it wants.
func (p preparer) script(ctx context.Context, in config.Install, cluster config.Cluster, out *Installer) error {
	out.edition = cmp.Or(in.Edition, "enterprise")
	if !slices.Contains([]string{"oss", "enterprise", "cloud"}, out.edition) {
		return fmt.Errorf("edition: %q is none of oss, enterprise, cloud", in.Edition)
	}
	if out.version == "" {
		v, err := clusterVersion(ctx, p.client, cluster.ProxyServer)
		if err != nil {
			return fmt.Errorf("version: %w", err)
		}
		out.version = v
	}
	url := cmp.Or(in.URL, defaultInstaller)
	script, err := fetch(ctx, p.client, url)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if want := in.SHA256["script"]; want != "" && hexSum(script) != strings.ToLower(want) {
		return fmt.Errorf("sha256: %s has SHA-256 %s, not %s", url, hexSum(script), want)
	}
	if !bytes.HasPrefix(script, []byte("#!")) {
		return fmt.Errorf("url: %s serves no script", url)
	}
	out.script = script
	return nil
}

// clusterVersion asks the proxy which version its clients should have: the automatic upgrades' channel where there is
// one, else the proxy's own version.
func clusterVersion(ctx context.Context, client *http.Client, proxy string) (string, error) {
	if proxy == "" {
		return "", errors.New("only a proxy (cluster.proxy_server) says which version the cluster runs: set tbot.install.version")
	}
	base := "https://" + strings.TrimSuffix(proxy, ":443")
	if raw, err := fetch(ctx, client, base+"/v1/webapi/automaticupgrades/channel/default/version"); err == nil {
		if v := strings.TrimPrefix(strings.TrimSpace(string(raw)), "v"); versions.VersionIn.FindString(v) == v && v != "" {
			return v, nil
		}
	}
	raw, err := fetch(ctx, client, base+"/v1/webapi/ping")
	if err != nil {
		return "", err
	}
	var ping struct {
		ServerVersion string `json:"server_version"`
	}
	if err := json.Unmarshal(raw, &ping); err != nil {
		return "", fmt.Errorf("%s/v1/webapi/ping: %w", base, err)
	}
	v := strings.TrimPrefix(ping.ServerVersion, "v")
	if v == "" || versions.VersionIn.FindString(v) != v {
		return "", fmt.Errorf("%s/v1/webapi/ping: %q is no version", base, remote.Cut(ping.ServerVersion, 40))
	}
	return v, nil
}

// fetch gets a small document.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	if client == nil {
		client = http.DefaultClient
	}
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(raw) > maxReply {
		err = fmt.Errorf("%s: more than 1 MiB", url)
	}
	return raw, err
}

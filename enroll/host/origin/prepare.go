package origin

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fleetctl/enroll/config"
	"fleetctl/enroll/outcome"
	"fleetctl/enroll/versions"
	"fleetctl/remote"
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
		From: in.From, Proxy: in.Proxy,
		Downloads: &Downloads{client: client, dir: dir},
	}
	var err error
	if in.Version != "" && !out.setVersion(in.Version) {
		return nil, fmt.Errorf("%w: tbot.install: version: %q is no version of Teleport, e.g. 18.4.0", outcome.ErrInput, in.Version)
	}
	switch in.From {
	case "", none:
		return nil, nil
	case File:
		err = p.files(in, out)
	case URL:
		err = p.urls(in, out)
	case Script:
		err = p.script(ctx, in, cluster, out)
	default:
		err = fmt.Errorf("from: %q is none of none, file, url, script", in.From)
	}
	if err == nil && versions.TooOldForTPM(out.Version) {
		err = fmt.Errorf("version: tbot %s doesn't know the tpm join method: it came with %s",
			out.Version, versions.Needs(versions.TPMJoin))
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
		return KindTarball
	case strings.HasSuffix(name, ".deb"):
		return KindDeb
	case strings.HasSuffix(name, ".rpm"):
		return KindRPM
	}
	return KindBinary
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
	out.ByArch = map[string]*Release{}
	for _, arch := range slices.Sorted(maps.Keys(in.Files)) {
		if err := knownArch(arch); err != nil {
			return err
		}
		pkg, err := p.file(in.Files[arch], arch, in.SHA256[arch], out)
		if err != nil {
			return fmt.Errorf("files: %s: %w", arch, err)
		}
		out.ByArch[arch] = pkg
	}
	return nil
}

// file makes a package of a local file with that checksum ("" for any). From a tarball tbot is taken out here, so that only
// it is pushed.
func (p preparer) file(name, arch, sum string, out *Installer) (*Release, error) {
	kind := kindOf(name)
	f, err := SumFile(name)
	if err == nil {
		err = f.checkSum(sum)
	}
	if err != nil {
		return nil, err
	}
	if kind == KindTarball {
		var version string
		if f, version, err = p.untar(name); err != nil {
			return nil, err
		}
		kind = KindBinary
		out.setVersion(version)
	}
	if !out.setVersion(filepath.Base(name)) && (kind == KindDeb || kind == KindRPM) {
		return nil, fmt.Errorf("%s: its name has no version: set tbot.install.version", name)
	}
	if kind == KindBinary {
		if err := checkELF(f.Name, arch); err != nil {
			return nil, err
		}
	}
	return &Release{Kind: kind, Local: f.Name, SHA256: f.SHA256, Size: f.Size}, nil
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
func (p preparer) untar(name string) (tbot Stored, version string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return Stored{}, "", err
	}
	defer f.Close() // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return Stored{}, "", fmt.Errorf("%s: %w", name, err)
	}
	for t := tar.NewReader(z); tbot.Name == "" || version == ""; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
		case h.Typeflag == tar.TypeReg && path.Base(h.Name) == "VERSION":
			var raw []byte
			raw, err = io.ReadAll(io.LimitReader(t, 100))
			version = strings.TrimPrefix(strings.TrimSpace(string(raw)), "v")
		case h.Typeflag == tar.TypeReg && path.Base(h.Name) == "tbot":
			tbot, err = storeFile(p.dir, "tbot-*", t, maxProgram)
		}
		if err != nil {
			return Stored{}, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	if tbot.Name == "" {
		return Stored{}, "", fmt.Errorf("%s: holds no tbot", name)
	}
	return tbot, version, nil
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
	if strings.Contains(in.URL, "{version}") && out.Version.IsZero() {
		return errors.New("url: holds {version}, and no version is given")
	}
	out.ByArch = map[string]*Release{}
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
		url := strings.NewReplacer("{version}", out.Version.String(), "{arch}", arch).Replace(in.URL)
		out.setVersion(path.Base(url))
		out.ByArch[arch] = &Release{Kind: kindOf(url), URL: url, SHA256: sum}
	}
	if out.Version.IsZero() {
		return errors.New("version: is needed: the URL doesn't say which one it serves")
	}
	return nil
}

// script fetches the installer and, where no version is given, asks the cluster for the one that it wants.
func (p preparer) script(ctx context.Context, in config.Install, cluster config.Cluster, out *Installer) error {
	out.Edition = cmp.Or(in.Edition, "enterprise")
	if !slices.Contains([]string{"oss", "enterprise", "cloud"}, out.Edition) {
		return fmt.Errorf("edition: %q is none of oss, enterprise, cloud", in.Edition)
	}
	if out.Version.IsZero() {
		v, err := clusterVersion(ctx, p.client, cluster.ProxyServer)
		if err != nil {
			return fmt.Errorf("version: %w", err)
		}
		out.Version = v
	}
	url := cmp.Or(in.URL, defaultInstaller)
	script, err := httpDocument(ctx, p.client, url)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if want := in.SHA256["script"]; want != "" && SHA256(script) != strings.ToLower(want) {
		return fmt.Errorf("sha256: %s has SHA-256 %s, not %s", url, SHA256(script), want)
	}
	if !bytes.HasPrefix(script, []byte("#!")) {
		return fmt.Errorf("url: %s serves no script", url)
	}
	out.Script = script
	return nil
}

// clusterVersion asks the proxy which version its clients should have: the automatic upgrades' channel where there is
// one, else the proxy's own version.
func clusterVersion(ctx context.Context, client *http.Client, proxy string) (versions.Version, error) {
	if proxy == "" {
		return versions.Version{}, errors.New("only a proxy (cluster.proxy_server) says which version the cluster runs: " +
			"set tbot.install.version")
	}
	base := "https://" + strings.TrimSuffix(proxy, ":443")
	if raw, err := httpDocument(ctx, client, base+"/v1/webapi/automaticupgrades/channel/default/version"); err == nil {
		if v, ok := versions.Parse(strings.TrimSpace(string(raw))); ok {
			return v, nil
		}
	}
	raw, err := httpDocument(ctx, client, base+"/v1/webapi/ping")
	if err != nil {
		return versions.Version{}, err
	}
	var ping struct {
		ServerVersion string `json:"server_version"`
	}
	if err := json.Unmarshal(raw, &ping); err != nil {
		return versions.Version{}, fmt.Errorf("%s/v1/webapi/ping: %w", base, err)
	}
	v, ok := versions.Parse(ping.ServerVersion)
	if !ok {
		return versions.Version{}, fmt.Errorf("%s/v1/webapi/ping: %q is no version", base, remote.Cut(ping.ServerVersion, 40))
	}
	return v, nil
}

package host

import (
	"fleetctl/enroll/config"
	"fleetctl/enroll/host/origin"
	"fleetctl/enroll/versions"
	"fleetctl/inventory"
	"fleetctl/templates"
)

// Desired is what a host should be like. It is computed from fleet.yaml, the inventory and the host's token alone;
// what depends on the host itself (its tbot's and systemd's version) is settled by Plan.
type Desired struct {
	Tbot    config.Tbot      // overrides of groups and of the host applied
	Adopt   bool             // replace a configuration or a unit that somebody else wrote
	Version versions.Version // of the cluster; the zero Version when it isn't known

	host      inventory.Host
	cluster   config.Cluster
	token     string            // the token the host joins with; "" when it has none
	device    string            // tpm_device of the inventory; "" for the one tbot would take
	install   *origin.Installer // where tbot comes from; nil when it must be there
	templates *templates.Set
	made      []Thing // by the records
}

// Where tbot's unit lives. It is ours by its name alone; whether the content is ours is what templates.Marker says.
const (
	UnitName      = "tbot.service"
	unitPath      = "/etc/systemd/system/tbot.service"
	dropInDir     = "/etc/systemd/system/tbot.service.d"
	hardeningPath = dropInDir + "/10-fleetctl-hardening.conf"
	updaterPath   = dropInDir + "/20-fleetctl.conf"
	pendingPath   = "/run/fleetctl-tbot.pending" // there while a restart is due; gone after a reboot, as the need is
)

// Who may open the TPM, and the files that say so.
const (
	accessGroup = "tss" // the TPM2 software stack's group
	rulesPath   = "/etc/udev/rules.d/60-fleetctl-tpm.rules"
	devicePath  = dropInDir + "/10-fleetctl-tpm.conf"
)

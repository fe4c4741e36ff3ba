package host

import (
	"context"
	"fleetctl/enroll/config"

	"gopkg.in/yaml.v3"
)

// ownStorage is where tbot's state lies on a host where its user can't reach the default.
const ownStorage = "/var/lib/tbot"

// Look gathers the facts of a host and settles what depends on them alone: where tbot's storage is, unless somebody chose it.
// A Teleport agent, as many hosts have one, keeps /var/lib/teleport to root, and the default lies in there: tbot of another
// user keeps its state in /var/lib/tbot then. Where it does so already it stays there.
func Look(ctx context.Context, conn Conn, d Desired) (Desired, *Facts, error) {
	f, err := GatherFacts(ctx, conn, d)
	if err != nil || d.Tbot.Storage != config.DefaultStorage {
		return d, f, err
	}
	if f.ways[wayStorage].shut == "" && f.configuredStorage(d) != ownStorage {
		return d, f, nil
	}
	d.Tbot.Storage = ownStorage
	f, err = GatherFacts(ctx, conn, d)
	return d, f, err
}

// configuredStorage is the storage of the tbot.yaml that we wrote; "" for none.
func (f *Facts) configuredStorage(d Desired) string {
	var written struct {
		Storage tbotStorage `yaml:"storage"`
	}
	file := f.files[string(d.Tbot.Config)]
	if !file.ours() || yaml.Unmarshal([]byte(file.content), &written) != nil {
		return ""
	}
	return written.Storage.Path
}

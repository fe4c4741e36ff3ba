package versions

// Capability names something that Teleport does in some versions and not in others. The values are paths in the machine
// readable facts (test/cluster/versions/versions.yaml) where they stand there.
type Capability string

// Entry is what is known of one capability.
type Entry struct {
	Capability Capability
	Group      Group
	Title      string  // for people: what it is
	Note       string  // what else to know; may be ""
	Ranges     []Range // ascending, without overlaps
}

// Group is where a capability belongs.
type Group string

// Groups, in the order of the documentation.
const (
	GroupCommand Group = "tbot's commands"
	GroupConfig  Group = "tbot.yaml"
	GroupType    Group = "Service types"
	GroupHealth  Group = "Start and health"
	GroupCluster Group = "Cluster and tctl"
	GroupUpdater Group = "teleport-update"
)

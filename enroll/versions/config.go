package versions

// planned is a version as the helpers take it: a development build counts as the release that it is to become.
func planned(v Version) Version {
	if v.isDev() {
		return v.release()
	}
	return v
}

// TooOldForTPM says whether a tbot or a cluster is known to be older than the tpm join method (15.3.0). Of an unknown
// version it isn't.
func TooOldForTPM(v Version) bool { return Has(TPMJoin, planned(v)) == No }

// firstNewSpelling is from where on certificate_ttl can't be relied on: the removal of what is deprecated is due in a
// major version, and master of 19 reads both.
var firstNewSpelling = must("19.0.0-0")

// TTLKey is how tbot.yaml spells the credentials' time to live at the top. Up to 18 it is certificate_ttl, the one that
// every such tbot reads (later ones with a warning, lib/tbot/config/config.go@bae8e6f9), and so it is for an unknown
// version; from 19 on, its pre-releases included, it is credential_ttl.
func TTLKey(v Version) string {
	if v.Compare(firstNewSpelling) >= 0 {
		return "credential_ttl"
	}
	return "certificate_ttl"
}

// The lists of tbot.yaml that services stand in.
const (
	ServicesList = "services"
	OutputsList  = "outputs"
)

// outputTypes are the service types that began as outputs (lib/tbot/config/config.go@018e587b).
var outputTypes = map[string]bool{
	"identity": true, "application": true, "database": true, "kubernetes": true, "ssh_host": true, "spiffe-svid": true,
}

// ListKey is the list of tbot.yaml that a service of a type must stand in, ServicesList or OutputsList: a tbot of 16 before
// 16.1.0, or of 15, takes what began as an output only under outputs (#43883, #43876). Of 15 that is said to have changed
// with 15.4.9, which is inferred; and since every later tbot that was read still takes those types there, that is where
// they go for all of 15 and for an unknown version. Types that nobody heard of are services.
func ListKey(typ string, v Version) string {
	f := look(ServicesTakeOutputs, planned(v))
	if outputTypes[typ] && (f.Answer != Yes || f.How == Inferred) {
		return OutputsList
	}
	return ServicesList
}

// outputsKey is ListKey for each of several types.
func outputsKey(v Version, types []string) []string {
	keys := make([]string, len(types))
	for i, t := range types {
		keys[i] = ListKey(t, v)
	}
	return keys
}

// RefusesRoles says whether a tbot is known to end because of a service with roles: 19 does
// (lib/tbot/internal/deprecated_roles.go@cee0411a).
func RefusesRoles(v Version) bool { return !v.IsZero() && Has(ServiceRoles, planned(v)) == No }

// TypeStatus is what is known of a service type in one version.
type TypeStatus int

// Status of a service type.
const (
	TypeUnheard TypeStatus = iota // the table doesn't have it: mistyped, or newer than the table
	TypeUnsure                    // the version is not known, and not every version has it
	TypeTooNew                    // it came later: tbot ends with "unrecognized service type"
	TypeKnown                     // the version takes it
)

// String is "unheard", "unsure", "too new" or "known".
func (s TypeStatus) String() string { return [...]string{"unheard", "unsure", "too new", "known"}[s] }

// ServiceType says whether a tbot takes services of a type. Needs(TypeCapability(name)) says which version does.
func ServiceType(name string, v Version) TypeStatus {
	e, ok := table[TypeCapability(name)]
	if !ok {
		return TypeUnheard
	}
	switch Has(e.Capability, planned(v)) {
	case Yes:
		return TypeKnown
	case No:
		return TypeTooNew
	}
	if v.IsZero() && e.everywhere() {
		return TypeKnown
	}
	return TypeUnsure
}

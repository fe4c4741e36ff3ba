package lab

// Kinds of TPM that a host may have.
const (
	EKCert     = "ekcert"      // with an EK certificate of the lab's CA
	NoEKCert   = "no-ekcert"   // without EK certificate
	NoTPM      = "no-tpm"      // no device at all
	ForeignCA  = "foreign-ca"  // its EK certificate is of a CA that the token does not list
	ForeignKey = "foreign-key" // its EK certificate is another TPM's
)

// Users that the hosts know.
const (
	Ops         = "ops"         // becomes root without a password
	Careful     = "careful"     // needs CarefulPass
	CarefulPass = "open sesame" // as in base.sh
)

// Spec says what a host is to be like. The zero value but for the name is a healthy host.
type Spec struct {
	Name         string
	TPM          string         // EKCert when empty
	CloneOf      string         // its TPM is a copy of that host's, which stands before it
	User         string         // whom the inventory logs in as; Ops when empty
	TSS          bool           // it has the group tss and the udev rules that Debian's tpm-udev brings
	NoUdev       bool           // no udev runs, nor its stand-in
	OldSystemd   bool           // its systemctl says that it is 219, as on CentOS 7
	Down         bool           // in the inventory, but not there
	WrongHostKey bool           // known_hosts has another key
	NoTbot       bool           // no tbot in /usr/local/bin
	Tbot         string         // which version its tbot plays, e.g. "17.2.7"; the cluster's when empty
	Group        string         // in the inventory; "fleet" when empty
	Vars         map[string]any // more variables for the inventory
}

// Mix is the fleet of the end-to-end test: healthy hosts, and one of each kind that is not.
func Mix() []Spec {
	return []Spec{
		{Name: "web-01", Group: "web"},
		{Name: "web-02", Group: "web", OldSystemd: true},
		{Name: "nocert-01", TPM: NoEKCert},
		{Name: "foreign-ca-01", TPM: ForeignCA, NoUdev: true},
		{Name: "sudo-01", User: Careful},
		{Name: "tss-01", TSS: true},
		{Name: "notpm-01", TPM: NoTPM},
		{Name: "clone-01"},
		{Name: "clone-02", CloneOf: "clone-01"},
		{Name: "foreign-key-01", TPM: ForeignKey},
		{Name: "changed-01", WrongHostKey: true},
		{Name: "down-01", Down: true},
	}
}

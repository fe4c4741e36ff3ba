package main

// example is a command line, and what it does.
type example struct{ line, does string }

// examples are by command: three each. They stand in the help and in the man pages.
var examples = map[string][]example{
	"init": {
		{"fleetctl init", "write fleet.yaml of what is found here"},
		{"fleetctl init --proxy teleport.example.com:443 --role fleet-access", "with what nothing here tells"},
		{"fleetctl init -f staging.yaml -i inventories/staging", "another fleet, in a file of its own"},
	},
	"doctor": {
		{"fleetctl doctor", "before the first scan, or when something does not work"},
		{"fleetctl doctor -o json", "for a program"},
		{"fleetctl doctor -f staging.yaml --check-timeout 2m", "another fleet, over a slow line"},
	},
	"inventory": {
		{"fleetctl inventory", "the hosts as fleetctl reads them"},
		{"fleetctl inventory --limit 'web:!web-07' -o csv", "some of them, for a spreadsheet"},
		{"fleetctl inventory --why ansible_user web-01", "where a variable of a host is set, and what counts"},
	},
	"known-hosts": {
		{"fleetctl known-hosts", "the keys of hosts that are not known, to be compared"},
		{"fleetctl known-hosts --fingerprints keys.txt --write", "add those that a file has"},
		{"fleetctl known-hosts --limit new --write", "add those of a group, after a yes"},
	},
	"scan": {
		{"fleetctl scan inventory.yaml", "ask the TPM of every host"},
		{"fleetctl scan --limit web --ask-become-pass", "one group, where sudo wants a password"},
		{"fleetctl scan --retry-failed", "those that failed the last time"},
	},
	"tokens": {
		{"fleetctl tokens", "write out/bot.yaml and the tokens, for git"},
		{"fleetctl tokens --diff", "how the cluster differs, by host"},
		{"fleetctl tokens --apply", "apply with tctl what differs"},
	},
	"enroll": {
		{"fleetctl enroll --check --diff", "what would be done, on which host"},
		{"fleetctl enroll --limit web", "one group"},
		{"fleetctl enroll --resume", "go on with a run that was interrupted"},
	},
	"remove": {
		{"fleetctl remove --check web-07", "what would go"},
		{"fleetctl remove web-07 --reason 'sold'", "take a machine out for good, after a yes"},
		{"fleetctl remove --resume", "complete what could not reach its host"},
	},
	"status": {
		{"fleetctl status", "how every host is"},
		{"fleetctl status --limit web-01 -o yaml", "one host, with all that is known"},
		{"fleetctl status --no-cluster", "where tctl is elsewhere"},
	},
	"report": {
		{"fleetctl report > fleet.html", "the fleet as one page"},
		{"fleetctl report --db backup.db > before.html", "as older records have it"},
		{"fleetctl report -f staging.yaml > staging.html", "another fleet"},
	},
	"explain": {
		{"fleetctl explain", "every status"},
		{"fleetctl explain changed-ek", "what one means, and what to do about it"},
		{"fleetctl explain timeout no-tpm -o json", "two of them, for a program"},
	},
	"support-bundle": {
		{"fleetctl support-bundle", "what tctl and the hosts' tbots print, redacted"},
		{"fleetctl support-bundle --limit web-01 --bundle web-01.tar.gz", "of one host"},
		{"fleetctl support-bundle --no-cluster", "where tctl is elsewhere"},
	},
	"help": {
		{"fleetctl help", "all commands"},
		{"fleetctl help enroll", "one of them"},
		{"fleetctl help records import", "one below another"},
	},
	"version": {
		{"fleetctl version", "for whoever asks"},
		{"fleetctl version -o json", "for a program"},
		{"fleetctl version -o yaml", "the same in YAML"},
	},
	"completion": {
		{"source <(fleetctl completion bash)", "in ~/.bashrc"},
		{"source <(fleetctl completion zsh)", "in ~/.zshrc, behind compinit"},
		{"fleetctl completion fish > ~/.config/fish/completions/fleetctl.fish", "once"},
	},
	"man": {
		{"fleetctl man man1", "write a page a command into a directory"},
		{"fleetctl man /usr/local/share/man/man1", "where man looks for them"},
		{"man ./man1/fleetctl-enroll.1", "read one"},
	},
	"records": {
		{"fleetctl records", "every host with its EK, token and state"},
		{"fleetctl records --issuers", "who has issued the EK certificates"},
		{"fleetctl records --removed -o csv", "the machines that were taken out"},
	},
	"records export": {
		{"fleetctl records export > fleet.jsonl", "every record, a line each"},
		{"fleetctl records export -o csv > fleet.csv", "for a spreadsheet"},
		{"fleetctl records export --db backup.db -o json", "of another file"},
	},
	"records import": {
		{"fleetctl records import --host web-01 identify.txt", "what tbot tpm identify printed on a host"},
		{"fleetctl records import fleet.jsonl --trust-proofs", "restore an export of yours"},
		{"ssh web-01 tbot tpm identify | fleetctl records import --host web-01 -", "from standard input"},
	},
	"records runs": {
		{"fleetctl records runs", "the latest twenty"},
		{"fleetctl records runs --last 100", "more of them"},
		{"fleetctl records runs -o jsonl", "for a program"},
	},
	"records history": {
		{"fleetctl records history web-01", "every observation of a host"},
		{"fleetctl records history web-01 -o csv", "for a spreadsheet"},
		{"fleetctl records history web-01 --db backup.db", "as older records have it"},
	},
	"records accept": {
		{"fleetctl records accept web-01", "after its board was replaced"},
		{"fleetctl records accept web-01 web-02", "hosts that swapped boards"},
		{"fleetctl records accept web-01 --reason 'RMA 4711'", "and why"},
	},
	"records forget": {
		{"fleetctl records forget web-01", "drop a host"},
		{"fleetctl records forget web-01 web-02", "or two"},
		{"fleetctl records forget web-01 --reason 'typed wrongly'", "and why"},
	},
	"records rename": {
		{"fleetctl records rename web-01 www-01", "give a host another name"},
		{"fleetctl records rename web-01 www-01 -i inventory.yaml", "with another inventory than fleet.yaml's"},
		{"fleetctl records rename web-01 www-01 --reason 'new scheme'", "and why"},
	},
	"records disable": {
		{"fleetctl records disable web-01", "its rules go with the next tokens"},
		{"fleetctl records disable web-01 web-02", "of two hosts"},
		{"fleetctl records disable web-01 --reason 'under repair'", "and why"},
	},
	"records enable": {
		{"fleetctl records enable web-01", "let it in again"},
		{"fleetctl records enable web-01 web-02", "or two"},
		{"fleetctl records enable web-01 --reason 'repaired'", "and why"},
	},
	"records readmit": {
		{"fleetctl records readmit web-01", "let a machine in again that was removed"},
		{"fleetctl records readmit 0123456789ab", "by the beginning of its EK's hash"},
		{"fleetctl records readmit web-01 --reason 'bought back'", "and why"},
	},
	"records recover": {
		{"fleetctl records recover --check", "what the cluster and the files know more"},
		{"fleetctl records recover", "put it into the records"},
		{"fleetctl records recover --clock", "mark runs whose times are impossible"},
	},
	"records log": {
		{"fleetctl records log", "who changed what, and why"},
		{"fleetctl records log web-01", "of one host"},
		{"fleetctl records log -o csv", "for a spreadsheet"},
	},
	"records backup": {
		{"fleetctl records backup fleet-today.db", "a copy, also while a run is under way"},
		{"fleetctl records backup --db staging.db staging-today.db", "of another file"},
		{"fleetctl records backup --wait 10m fleet-today.db", "after a run has ended"},
	},
}

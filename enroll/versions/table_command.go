package versions

// Capabilities of tbot's commands and of the unit that it can write.
const (
	StartPIDFile          Capability = "tbot.start.pid_file"
	StartDiagSocket       Capability = "tbot.start.diag_socket_for_updater"
	WaitCommand           Capability = "tbot.wait"
	EnvConfig             Capability = "tbot.env_config"
	InstallSystemd        Capability = "tbot.install_systemd"
	InstallSystemdPIDFile Capability = "tbot.install_systemd.pid_file_flag"
	UnitPassesPIDFile     Capability = "tbot.install_systemd.unit_passes_pid_file"
	LogsVersion           Capability = "tbot.logs_version_at_start"
)

const (
	pidFilePRs  = "#60477, #61190, #61189"
	unitGoldens = "goldens of tbot install systemd @8795f0c8, @e6b085e3; #64487"
)

var commandEntries = []Entry{
	{StartPIDFile, GroupCommand, "`tbot start --pid-file`", "never in 15 and 16; a flag alone, no key of tbot.yaml", []Range{
		span("17.7.10", "17.x", FromPR, pidFilePRs), since("18.4.0", FromPR, pidFilePRs),
	}},
	{StartDiagSocket, GroupCommand, "`tbot start --diag-socket-for-updater`", "a Unix socket with /readyz", []Range{
		span("17.7.10", "17.x", FromPR, pidFilePRs), since("18.4.0", FromPR, pidFilePRs),
	}},
	{WaitCommand, GroupCommand, "`tbot wait`", "none in 17 up to 17.7.16", []Range{
		since("18.6.4", FromChangelog, "#62719; tool/tbot/wait.go@a07c2bc1"),
	}},
	{EnvConfig, GroupCommand, "configuration by environment", "", []Range{since("17.2.9", FromChangelog, "#52351")}},
	{InstallSystemd, GroupCommand, "`tbot install systemd`", "only prints without `--write`", []Range{
		span("15.4.9", "15.x", Inferred, "#44082, merged in late July 2024"), since("16.1.0", FromChangelog, "#44083"),
	}},
	{InstallSystemdPIDFile, GroupCommand, "`tbot install systemd --pid-file`", "", []Range{
		span("17.7.15", "17.x", FromChangelog, "#63038"), since("18.6.5", FromChangelog, "#63039"),
	}},
	{UnitPassesPIDFile, GroupCommand, "the unit of `tbot install systemd` passes `--pid-file`",
		"before it, the unit names a PIDFile that nobody writes", []Range{
			span("17.7.10", "17.x", FromGolden, unitGoldens), since("18.4.0", FromGolden, unitGoldens),
		}},
	{LogsVersion, GroupCommand, "tbot logs its version when it starts", "", []Range{
		span("17.7.3", "17.x", FromChangelog, "#58057"), since("18.1.6", FromChangelog, "#58056"),
	}},
}

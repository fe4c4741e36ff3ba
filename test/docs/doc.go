// Package docs runs what the documentation shows. On every page, README.md included,
//
//   - a fenced block of the language "console" is a terminal: each line after "$ " is run by bash, in order, and must end with
//     exit code 0 or the one of its comment "# exit code N". The lines that follow must be in what it says, in this order; others
//     may stand between them. "…" stands for any text;
//   - a fenced block "yaml NAME", "ini NAME" or "sh NAME" is a file that is written before the commands that follow;
//   - a comment "<!-- tested: KEY=VALUE… -->" before the first of these says what there is to begin with, see setting;
//   - fleetctl's lines in all other blocks are command lines that exist: commands and flags are compared with --help.
//
// The hosts are fleetsim's, and the cluster's tctl is a stand-in: what enroll hears of a join is the host's word.
package docs

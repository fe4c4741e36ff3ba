// Package values reads and writes the values of an inventory as Ansible does: Python literals in INI files, scalars of
// YAML 1.1, and JSON as ansible-inventory prints it. It knows no hosts and no groups.
package values

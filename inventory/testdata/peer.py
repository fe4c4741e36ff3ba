"""Runs Ansible's command line many times in one process tree, as starting it costs half a second each time.

Reads one JSON request a line ({"cli": "inventory" or "adhoc", "dir": …, "args": […]}), forks for each, and writes one
JSON answer a line ({"code": …, "stdout": …, "stderr": …}). The cli "patterns" does what `ansible --list-hosts` does for
many patterns at once: its args are an inventory and then pairs of a pattern and a limit, and it prints a line each. The
cli "config" prints settings of ansible.cfg and of an environment, and "variables" what the variables of all hosts are when Ansible has decrypted and evaluated them.
"""

import ast
import functools
import json
import os
import sys
import tempfile

import yaml

import ansible.cli.inventory
import ansible.cli.adhoc
import ansible.cli.vault
from ansible.parsing.ajson import AnsibleJSONEncoder
from ansible.inventory.manager import InventoryManager
import ansible.plugins
from ansible.cli import CLI
from ansible.config.manager import ConfigManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

CLIS = {
    "inventory": ("ansible-inventory", ansible.cli.inventory.InventoryCLI),
    "adhoc": ("ansible", ansible.cli.adhoc.AdHocCLI),
    "vault": ("ansible-vault", ansible.cli.vault.VaultCLI),
}


def patterns(source, *args):
    inventory = InventoryManager(loader=DataLoader(), sources=[source])
    for pattern, limit in zip(args[::2], args[1::2]):
        try:
            inventory.subset(limit or None)
            print("ok", *inventory.list_hosts(pattern))
        except Exception as e:  # an IndexError for some malformed patterns
            print("error", str(e).replace("\n", " "))
    sys.exit(0)


def variables(vault_ids, *sources):
    """Prints what Ansible makes of each variable of each host, as an object of hosts with objects of variables."""
    loader = DataLoader()
    CLI.setup_vault_secrets(loader, [i for i in vault_ids.split(",") if i], auto_prompt=False)
    inventory = InventoryManager(loader=loader, sources=list(sources))
    manager = VariableManager(loader=loader, inventory=inventory)
    HostVars(inventory=inventory, variable_manager=manager, loader=loader)
    answer = {}
    for host in inventory.get_hosts():
        everything = manager.get_vars(host=host)
        templar = Templar(loader=loader, variables=everything)
        answer[host.name] = results = {}
        for name in manager.get_vars(host=host, include_hostvars=False):
            if name in ("hostvars", "omit", "groups", "vars"):
                continue
            try:
                value = templar.template(everything[name])
                results[name] = {"value": json.loads(json.dumps(value, cls=AnsibleJSONEncoder, vault_to_text=True))}
            except Exception as e:
                results[name] = {"error": str(e)}
    print(json.dumps(answer))
    sys.exit(0)


PLUGIN_SETTINGS = {
    "HOST_KEY_CHECKING": ("connection", "ssh", "host_key_checking"),
    "DEFAULT_TIMEOUT": ("connection", "ssh", "timeout"),
    "ssh_args": ("connection", "ssh", "ssh_args"),
    "ssh_common_args": ("connection", "ssh", "ssh_common_args"),
    "ssh_extra_args": ("connection", "ssh", "ssh_extra_args"),
    "sudo become_exe": ("become", "sudo", "become_exe"),
    "sudo become_flags": ("become", "sudo", "become_flags"),
    "su become_exe": ("become", "su", "become_exe"),
    "su become_flags": ("become", "su", "become_flags"),
}


@functools.cache
def definitions():
    """What settings there are: parsed once, as that takes most of the time of a process that starts."""
    base = ConfigManager()._base_defs
    plugins = {}
    for kind, plugin, _ in PLUGIN_SETTINGS.values():
        with open(os.path.join(os.path.dirname(ansible.plugins.__file__), kind, plugin + ".py")) as f:
            source = ast.parse(f.read())
        text = next(n.value.value for n in source.body if isinstance(n, ast.Assign) and n.targets[0].id == "DOCUMENTATION")
        plugins[kind, plugin] = yaml.load(text, Loader=yaml.CSafeLoader)["options"]
    return base, plugins


def config(environment, *names):
    """Prints the value and the origin of settings, as a process finds them that is started here with that environment."""
    for name in list(os.environ):
        if name.startswith("ANSIBLE_"):
            del os.environ[name]
    os.environ.update(json.loads(environment))
    answer = {}
    try:
        base, plugins = definitions()
        ConfigManager.WARNINGS.clear()
        ConfigManager._read_config_yaml_file = lambda self, file: base
        manager = ConfigManager()
        for (kind, plugin), options in plugins.items():
            manager.initialize_plugin_configuration_definitions(kind, plugin, options)
        answer["file"] = manager._config_file
        for name in names:
            kind, plugin, option = PLUGIN_SETTINGS.get(name, (None, None, name))
            value, origin = manager.get_config_value_and_origin(option, plugin_type=kind, plugin_name=plugin)
            answer[name] = {"value": value, "origin": origin}
        answer["warnings"] = sorted(manager.WARNINGS)
    except Exception as e:
        answer = {"error": str(e)}
    print(json.dumps(answer))
    sys.exit(0)


def child(request, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.chdir(request["dir"])
    if request["cli"] == "patterns":
        patterns(*request["args"])
    if request["cli"] == "config":
        config(*request["args"])
    if request["cli"] == "variables":
        variables(*request["args"])
    name, cli = CLIS[request["cli"]]
    sys.argv = [name] + request["args"]
    cli.cli_executor(sys.argv)


def answer(request):
    if request["cli"] == "config":
        definitions()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                child(request, out, err)
            except SystemExit as exit:
                code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "stdout": out.read().decode("utf-8", "replace"),
            "stderr": err.read().decode("utf-8", "replace"),
        }


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)

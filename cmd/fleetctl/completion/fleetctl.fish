# fish completion for fleetctl: fleetctl completion fish > ~/.config/fish/completions/fleetctl.fish

function __fleetctl_complete
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    for line in ($before[1] __complete -- $before[2..-1] "$word" 2>/dev/null)
        if string match -q ':files*' -- $line
            __fish_complete_path "$word"
        else
            echo $line
        end
    end
end

complete -c fleetctl -f -a '(__fleetctl_complete)'

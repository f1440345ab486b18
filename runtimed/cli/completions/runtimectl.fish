# What fish completes on a command line of runtimectl. runtimectl itself lists the words that can come next; it asks the
# daemon for the names of runtimes and the numbers of generations, for a second at most.

function __runtimectl_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    # Of the word that is being typed it need only know whether that is an option: fish has its own ways of matching.
    set -l option (string match -- '-*' $current)
    set -l found (runtimectl __complete words $before[2..] "$option" 2>/dev/null)
    switch $status
        case 0
            printf '%s\n' $found
        case 3 # the name of a file
            __fish_complete_path $current
    end
end

complete -c runtimectl -f -k -a '(__runtimectl_complete)'

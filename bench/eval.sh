#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# eval.sh - rows of bench/results/eval.csv and task.csv for the models of the tests; what was
# measured before is kept in build/eval, so that it may be broken off and called again.
#
#     bench/eval.sh [FOLDER-OF-PROGRAMS]
#
# EVAL_THREADS: of the engine (1). EVAL_PARTS: "tuning apart tasks" or some of them.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release/bin}
models=${LYNX_TEST_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/lynx/models}
threads=${EVAL_THREADS:-1}
parts=${EVAL_PARTS:-tuning apart tasks}
kept=build/eval
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores"
commit=$(git rev-parse --short HEAD)
mkdir -p "$kept"

# Names that are one of our defaults or a rival; the paper's with its best alpha and others.
codecs=range,range44,range-chunk,paper,paper:alpha=0.05,paper:alpha=4,int8,int4,int4-chunk
codecs+=,int8-token,int4-token,q8_0,q4_0,cachegen
tasked=range,range44,paper:alpha=0.05,int8-token,int4-token,int4,q4_0,cachegen

rows() { # file, what stands before each row: model, texts or nothing
    local line first=1
    while IFS= read -r line; do
        [ "$first" = 1 ] || printf '"%s",%s,bench/eval.sh,%s,%s\n' "$machine" "$commit" "$2" "$line"
        first=0
    done <"$1"
}

head_of() { # file, names before those of the rows
    printf 'machine,commit,command,%s,%s\n' "$2" "$(head -1 "$1")"
}

texts() { # tuning or apart
    for model in smollm2-135m-f16 gemma3-270m-f16; do
        local prompts=1
        [ "$1" = apart ] && prompts=2
        mapfile -t files <"bench/texts/$1.txt"
        "$bin/lynx" eval -m "$models/$model.gguf" -t "$threads" --codec "$codecs" --csv \
            --tokens 1000 --positions 124 --prompts "$prompts" \
            --resume "$kept/$1-$model.jsonl" --plot "$kept/$1-$model" "${files[@]}" \
            >"$kept/$1-$model.csv.new"
        mv "$kept/$1-$model.csv.new" "$kept/$1-$model.csv"
    done
}

tasks() {
    for model in smollm2-135m-f16 gemma3-270m-f16; do
        for task in passkey recall choice; do
            [ -e "$kept/$task-$model.csv" ] && continue
            "$bin/lynx" eval -m "$models/$model.gguf" -t "$threads" --codec "$tasked" --csv \
                --task "$task" --tokens 500,1000,2000 --items 20 >"$kept/$task-$model.csv.new"
            mv "$kept/$task-$model.csv.new" "$kept/$task-$model.csv"
        done
    done
}

gather() { # target, names before, then pairs: file and what stands before its rows
    local target=$1 names=$2 is_first=1
    shift 2
    while [ $# -ge 2 ]; do
        if [ -e "$1" ]; then
            [ "$is_first" = 0 ] || head_of "$1" "$names" >"$target.new"
            is_first=0
            rows "$1" "$2" >>"$target.new"
        fi
        shift 2
    done
    [ "$is_first" = 1 ] || mv "$target.new" "$target"
}

for part in $parts; do
    if [ "$part" = tasks ]; then tasks; else texts "$part"; fi
done
arguments=()
task_arguments=()
for model in smollm2-135m-f16 gemma3-270m-f16; do
    for part in tuning apart; do
        arguments+=("$kept/$part-$model.csv" "$model,$part")
    done
    for task in passkey recall choice; do
        task_arguments+=("$kept/$task-$model.csv" "$model")
    done
done
gather bench/results/eval.csv model,texts "${arguments[@]}"
gather bench/results/task.csv model "${task_arguments[@]}"

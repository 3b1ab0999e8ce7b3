"""The Dockerfile language: text in, values out. No file, no process, no network is touched here.

    text ─ lexer ─▶ logical lines ─ parser ─▶ Dockerfile(directives, global args, stages of instructions)
                                                   │            │
                                              checks.py     expand.py (at build time, with the variables)

``ignore`` answers what ``.dockerignore`` leaves out, ``changes`` applies single instructions to an
image config (``docker commit --change``, ``docker import --change``).
"""

"""README and the pages under docs say what the code does.

pages               the pages as they are read: blocks, tables, anchors, links, command lines
test_form           what holds of every page: width, fences, links, its first sentence
test_commands       commands and options exist, and the other way round; what README shows of their output is what they print
test_configuration  every setting is there with its true default; examples parse
test_facts          verdicts, tables, columns, queries, metrics, notices, states, headers
test_code           the layout, what may import what, paths
test_services       the examples for systemd and launchd
"""

"""Logging drivers that send a container's output elsewhere: syslog, gelf, fluentd, journald.

The monitor always writes the container's own log file; a driver here follows that file and forwards its entries. So
``docker logs`` works whatever the driver, output is buffered on disk (bounded by rotation) while a receiver is
away, and a slow receiver never stalls the container.

    message.py      what is sent: an entry, and whose it is
    options.py      drivers and their options: one table
    syslog.py …     one file per protocol: entry → bytes, and the sending
    transport.py    datagram and stream sockets that connect again by themselves
    forward.py      the choice of a driver, and how it is fed
    follow.py       the task of one container: from its log file, at the place it had reached, into the driver
"""

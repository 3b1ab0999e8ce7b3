"""Networks, endpoints, published ports and names: everything between a container's namespace and the host's links.

networks.Networks        the service: the API's seven operations, join and leave
  ├── request            what a create request means, checked       ── config.NetworkConfig
  ├── ipam               address pools and leases
  ├── sandbox            a container's namespace and what is plugged into it
  ├── drivers            bridge, macvlan: make a network's link, plug an endpoint
  ├── pool               prepared namespaces, so that a start is quick
  ├── ports              published ports: which host port, held by a socket
  ├── firewall           one nftables table: masquerade, publish, isolation
  └── names, resolver    who is called what; the DNS server at 127.0.0.11
"""

"""The commands of ``k8slan lab``: whole labs, from topology files."""
